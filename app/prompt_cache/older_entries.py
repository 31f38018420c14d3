"""Entries of a Redis that came back older than it was.

1. An entry is purged or replaced. 2. Redis comes back from a snapshot, or a failover
promotes a replica that lacks the last writes. 3. The entry is there again, and other
replicas have its bytes in memory. So each entry is compared with its manifest, once
for each new run of Redis, before it is served.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from cachetools import LRUCache

if TYPE_CHECKING:
    from app.prompt_cache.entry.entry import PromptEntry
    from app.prompt_cache.entry.ledger import Ledger
    from app.prompt_cache.painting.pictures import Pictures
    from app.prompt_cache.statistics import Statistics
    from app.storage.ports.prompt_index import PromptIndex

logger = logging.getLogger(__name__)

# Some 300 bytes each; one that was pushed out is compared once more.
MAX_CONFIRMED = 200_000


@dataclass(frozen=True, kw_only=True)
class OlderEntries:
    """The check of entries while the index has doubts about its data."""

    index: PromptIndex
    ledger: Ledger
    pictures: Pictures
    statistics: Statistics
    # For each prompt the run of Redis, and the picture that its manifest named then.
    _confirmed: LRUCache[str, tuple[int, str]] = field(
        default_factory=lambda: LRUCache(MAX_CONFIRMED)
    )

    async def is_current(self, entry: PromptEntry, record: bytes) -> bool:
        """Return whether the manifest names *entry*; remove an older entry."""
        doubts, prompt_hash = self.index.doubts, entry.prompt_hash
        if self._confirmed.get(prompt_hash) == (doubts, entry.image_id):
            return True
        manifest = await self.ledger.read(entry.project, prompt_hash)
        named = manifest.entry if manifest else None
        if named is not None and named.image_id == entry.image_id:
            self._confirmed[prompt_hash] = doubts, entry.image_id
            return True
        logger.info("older entry removed", extra={"prompt_hash": prompt_hash})
        await self.index.drop(prompt_hash, record)
        self.pictures.forget(entry)
        if manifest is None:
            self.statistics.removed(entry.project, prompt_hash, entry.size)
        return False
