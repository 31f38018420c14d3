"""Bytes that come in pieces are the same bytes in one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.gathered_bytes import GatheredBytes, TooManyBytes

MIB = 1024 * 1024


@given(st.lists(st.integers(0, 700_000), max_size=6))
def test_pieces_are_gathered_in_order(sizes: list[int]) -> None:
    """A few bytes and megabytes come out as they were added."""
    pieces = [bytes([number + 1]) * size for number, size in enumerate(sizes)]
    gathered = GatheredBytes(8 * MIB)
    for piece in pieces:
        gathered.add(piece)

    assert gathered.value() == b"".join(pieces)


def test_one_byte_too_many_is_refused() -> None:
    """The largest number of bytes is gathered, and the next byte is refused."""
    gathered = GatheredBytes(3 * MIB)
    for _ in range(3):
        gathered.add(bytes(MIB))

    with pytest.raises(TooManyBytes):
        gathered.add(b"a")
