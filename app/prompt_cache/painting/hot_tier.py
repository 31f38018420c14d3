"""The hot tier: pictures that this replica served lately, bounded by bytes.

Pictures are immutable and go by image id, so nothing here is ever stale; the
entry in Redis alone decides whether a picture is the answer to a prompt.
"""

from __future__ import annotations

from collections.abc import Callable

from cachetools import LRUCache

# A picture above this share of the tier would push too many others out.
LARGEST_SHARE = 8


class HotTier:
    """At most *max_bytes* of pictures; 0 keeps none."""

    def __init__(
        self, max_bytes: int, *, on_change: Callable[[int], None] = lambda _: None
    ) -> None:
        self.max_bytes = max_bytes
        self._pictures: LRUCache[str, bytes] = LRUCache(max_bytes, getsizeof=len)
        self._largest = max_bytes // LARGEST_SHARE
        self._on_change = on_change

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

    def forget(self, image_id: str) -> None:
        """Remove a picture; one that is not there is a no-op."""
        if self._pictures.pop(image_id, None) is not None:
            self._on_change(int(self._pictures.currsize))
