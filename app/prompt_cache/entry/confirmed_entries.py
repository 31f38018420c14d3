"""The entries whose manifest this replica has seen name them, or has written."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cachetools import LRUCache

if TYPE_CHECKING:
    from app.prompt_cache.entry.entry import PromptEntry

# Some 300 bytes each; one that was pushed out is compared once more.
MAX_CONFIRMED = 200_000


class ConfirmedEntries:
    """For each prompt the picture that its manifest named, and in which doubt.

    The number of the index's doubts is read before the manifest: what it says of an
    earlier doubt counts no more after another one.
    """

    def __init__(self) -> None:
        self._confirmed: LRUCache[str, tuple[int, str]] = LRUCache(MAX_CONFIRMED)

    def has(self, entry: PromptEntry, doubts: int) -> bool:
        """Return whether the manifest of *entry* named it after so many doubts."""
        return self._confirmed.get(entry.prompt_hash) == (doubts, entry.image_id)

    def note(self, entry: PromptEntry, doubts: int) -> None:
        """Note that the manifest names *entry*."""
        # Without a doubt no entry is compared.
        if doubts:
            self._confirmed[entry.prompt_hash] = doubts, entry.image_id
