"""The hot tier: pictures that this replica served lately, bounded by bytes.

Pictures are immutable and kept by image id, so nothing here is ever stale; the
entry in Redis alone decides whether a picture is the answer to a prompt.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from cachetools import LRUCache

# A picture above this share of the tier would push too many others out.
LARGEST_SHARE = 8


class HotTier:
    """At most *max_bytes* of pictures; 0 keeps none."""

    def __init__(
        self, max_bytes: int, *, on_change: Callable[[int], None] = lambda _: None
    ) -> None:
        self._max_bytes = max_bytes
        self._pictures: LRUCache[str, bytes] = LRUCache(max_bytes, getsizeof=len)
        self._largest = max_bytes // LARGEST_SHARE
        self._on_change = on_change
        self._collecting: dict[str, int] = {}

    def get(self, image_id: str) -> bytes | None:
        """Return a picture's bytes, or None."""
        return self._pictures.get(image_id)

    def accepts(self, size: int) -> bool:
        """Return whether a picture of *size* bytes would be kept."""
        return 0 < size <= self._largest

    def keep(self, image_id: str, data: bytes) -> None:
        """Keep a picture if it is small enough, pushing others out."""
        if self.accepts(len(data)):
            self._pictures[image_id] = data
            self._on_change(int(self._pictures.currsize))

    @contextmanager
    def collecting(self, image_id: str, size: int) -> Iterator[list[bytes] | None]:
        """Yield a list for the chunks of a picture that is being sent; None for none.

        What is in it at the end is kept. One reader collects a picture, and all of
        them no more than the tier holds: hundreds of slow readers must not hold
        hundreds of copies.
        """
        collected = sum(self._collecting.values())
        if (
            not self.accepts(size)
            or image_id in self._collecting
            or collected + size > self._max_bytes
        ):
            yield None
            return
        self._collecting[image_id] = size
        chunks: list[bytes] = []
        try:
            yield chunks
            self.keep(image_id, b"".join(chunks))
        finally:
            del self._collecting[image_id]

    def forget(self, image_id: str) -> None:
        """Remove a picture; one that is not there is a no-op."""
        if self._pictures.pop(image_id, None) is not None:
            self._on_change(int(self._pictures.currsize))
