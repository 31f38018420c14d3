"""Bytes that come in pieces, gathered in one place."""

from __future__ import annotations

from io import BytesIO

# Copied once, when more bytes come than that.
_SMALL_BYTES = 1024 * 1024


class TooManyBytes(ValueError):
    """There are more than *max_bytes*."""

    def __init__(self, max_bytes: int) -> None:
        super().__init__(f"There are more than {max_bytes} bytes.")


class GatheredBytes:
    """At most *max_bytes*, written to their final place in memory.

    A buffer that grows as it is written to is moved again and again, which takes
    up to 15 ms for tens of megabytes, and leaves as many in the heap behind it.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._buffer = BytesIO()
        self._size = 0

    def add(self, piece: bytes | bytearray) -> None:
        """Append *piece*; raises `TooManyBytes`."""
        before = self._size
        self._size += len(piece)
        if self._size > self._max_bytes:
            raise TooManyBytes(self._max_bytes)
        if before <= _SMALL_BYTES < self._size:
            self._make_room()
        self._buffer.write(piece)

    def value(self) -> bytes:
        """Return the bytes, without a copy."""
        self._buffer.truncate(self._size)
        return self._buffer.getvalue()

    def _make_room(self) -> None:
        gathered = self._buffer.getvalue()
        # The kernel gives memory for these zeros only where something is written.
        self._buffer = BytesIO(bytes(self._max_bytes))
        self._buffer.write(gathered)
