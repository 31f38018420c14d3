"""Marking of damaged and hostile containers."""

from __future__ import annotations

import warnings
from contextlib import suppress
from functools import cache
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.generation.provenance import attest
from app.image import Image, sniff
from tests.generation.provenance.samples import MARK, SAMPLES, SIGNED, shown

NAMES = [*SAMPLES, *(path.name for path in SIGNED.glob("*.*") if path.suffix != ".md")]


@cache
def whole(name: str) -> bytes:
    """Return an undamaged picture."""
    return SAMPLES[name]() if name in SAMPLES else (SIGNED / name).read_bytes()


def seen(data: bytes) -> list[Any] | None:
    """Return the decoded frames of *data*; None if a viewer gets an error."""
    with warnings.catch_warnings(), suppress(Exception):
        warnings.simplefilter("ignore")
        return shown(data)
    return None


def check(data: bytes) -> None:
    """Mark *data*; compare the frames before and after."""
    media_type = sniff(data)
    if media_type is None:
        return
    came = Image(data, media_type, "", 1, 1)

    stored, provenance = attest(came, MARK, painted=came)

    assert provenance.marked == (stored is not came)
    before = seen(data)
    if stored is not came and before is not None:
        assert sniff(stored.data) == media_type
        assert seen(stored.data) == before


@pytest.mark.parametrize("name", NAMES)
def test_a_picture_that_broke_off_anywhere(name: str) -> None:
    """A picture cut at any byte is marked without an error or a visible change."""
    data = whole(name)

    for length in range(0, len(data), max(1, len(data) // 60)):
        check(data[:length])


@given(
    name=st.sampled_from(NAMES),
    edits=st.lists(
        st.tuples(st.floats(0, 1, exclude_max=True), st.binary(min_size=1, max_size=4)),
        min_size=1,
        max_size=6,
    ),
    reach=st.sampled_from([64, 256, 100_000]),
)
def test_a_garbled_picture(
    name: str, edits: list[tuple[float, bytes]], reach: int
) -> None:
    """A picture with wrong lengths, names, flags or offsets raises no error."""
    data = bytearray(whole(name))
    for place, value in edits:
        at = int(place * min(reach, len(data)))
        data[at : at + len(value)] = value

    check(bytes(data))


@given(
    magic=st.sampled_from(sorted({whole(name)[:16] for name in NAMES})),
    rest=st.binary(max_size=300),
)
def test_noise_behind_a_magic_number(magic: bytes, rest: bytes) -> None:
    """Random bytes behind a magic number raise no unexpected error."""
    check(magic + rest)
