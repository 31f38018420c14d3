"""The entries of records that were read lately: most hits read the same again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from app.prompt_cache.entry.entry import PromptEntry

if TYPE_CHECKING:
    from app.prompt_cache.entry.prompt_key import PromptKey

# Some 1 KB each. Emptied when full: to keep the order of use would take longer
# than to parse one again.
KEPT = 8_192


class KnownEntries:
    """Parsed records: each is used only for the bytes that Redis has just returned."""

    def __init__(self) -> None:
        self._by_hash: dict[str, tuple[bytes, PromptEntry]] = {}

    def read(self, key: PromptKey, record: bytes) -> PromptEntry | None:
        """Return the entry that *record* of *key* spells, None where it is damaged."""
        known = self._by_hash.get(key.hash)
        if known is not None and known[0] == record:
            return known[1]
        entry = PromptEntry.of_key(key, record)
        if entry is not None:
            if len(self._by_hash) >= KEPT:
                self._by_hash.clear()
            self._by_hash[key.hash] = record, entry
        return entry
