"""Base64 in slices, so that a large picture is never in memory twice."""

from __future__ import annotations

from binascii import b2a_base64
from collections.abc import Iterator

# A multiple of three: every slice but the last is without padding.
_SLICE_BYTES = 96 * 1024


def encoded(data: bytes) -> Iterator[bytes]:
    """Yield the base64 of *data*."""
    view = memoryview(data)
    for at in range(0, len(view), _SLICE_BYTES):
        yield b2a_base64(view[at : at + _SLICE_BYTES], newline=False)
