"""Damaged and hostile containers: no error, and never a broken picture."""

from __future__ import annotations

import warnings
from contextlib import suppress
from functools import cache
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.generation.provenance import attest
from app.image import Image, sniff
from tests.generation.provenance.samples import MARK, SAMPLES, SIGNED, shown

NAMES = [*SAMPLES, *(path.name for path in SIGNED.glob("*.*") if path.suffix != ".md")]


@cache
def whole(name: str) -> bytes:
    """Return a picture that nothing is wrong with."""
    return SAMPLES[name]() if name in SAMPLES else (SIGNED / name).read_bytes()


def seen(data: bytes) -> list[Any] | None:
    """Return what a viewer sees in *data*; None where it sees an error."""
    with warnings.catch_warnings(), suppress(Exception):
        warnings.simplefilter("ignore")
        return shown(data)
    return None


def check(data: bytes) -> None:
    """Mark *data* and compare what is seen."""
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
    """Wherever the provider's answer ended, the rest is the same as before."""
    data = whole(name)

    for length in range(0, len(data), max(1, len(data) // 60)):
        check(data[:length])


@settings(max_examples=60, deadline=None)
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
    """Lengths, names, flags and offsets of a container may all be lies."""
    data = bytearray(whole(name))
    for place, value in edits:
        at = int(place * min(reach, len(data)))
        data[at : at + len(value)] = value

    check(bytes(data))


@settings(max_examples=60, deadline=None)
@given(
    magic=st.sampled_from(sorted({whole(name)[:16] for name in NAMES})),
    rest=st.binary(max_size=300),
)
def test_noise_behind_a_magic_number(magic: bytes, rest: bytes) -> None:
    """Bytes that are no picture raise no unexpected error."""
    check(magic + rest)
