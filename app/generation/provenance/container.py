"""Containers of pictures, as far as their metadata goes: a packet, and its limits."""

from __future__ import annotations

from typing import NamedTuple

# Real pictures have hundreds of chunks or segments. A hostile one of 16 MB
# could have a million, which would take seconds to walk through.
MAX_PARTS = 65_536


class Unmarkable(ValueError):
    """A container that is damaged, or has no room for the packet."""


class Contents(NamedTuple):
    """Metadata of a container about its picture's origin.

    *packet* is the XMP packet that lies in the part from *start* to *end*.
    Without one both are the offset at which a new part belongs.
    """

    c2pa: bool
    packet: bytes | None
    start: int
    end: int


def spliced(data: bytes, start: int, end: int, part: bytes) -> bytes:
    """Return *data* with *part* from *start* to *end*; copies a picture once."""
    view = memoryview(data)
    return b"".join((view[:start], part, view[end:]))
