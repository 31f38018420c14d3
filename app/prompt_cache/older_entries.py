"""Entries of a Redis that came back older than it was.

1. An entry is purged or replaced. 2. Redis comes back from a snapshot, or a failover
promotes a replica that lacks the last writes. 3. The entry is there again, and other
replicas have its bytes in memory. So each entry is compared with its manifest, once
for each such run of Redis, before it is served or listed.
"""

from __future__ import annotations

import logging
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from app.errors import StillGenerating
from app.single_flight import SingleFlight

if TYPE_CHECKING:
    from app.prompt_cache.entry.confirmed_entries import ConfirmedEntries
    from app.prompt_cache.entry.entry import PromptEntry
    from app.prompt_cache.entry.ledger import Ledger, Manifest
    from app.prompt_cache.flight.leases import Leases
    from app.prompt_cache.painting.commit import Committer
    from app.prompt_cache.painting.pictures import Pictures
    from app.prompt_cache.statistics import Statistics
    from app.storage.ports.prompt_index import PromptIndex
    from app.storage.storage_key import Project

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Older:
    """An entry other than that of its *manifest*, which is None after a purge."""

    manifest: Manifest | None


@dataclass(frozen=True, kw_only=True)
class OlderEntries:
    """The check of entries while the index has doubts about its data."""

    index: PromptIndex
    ledger: Ledger
    leases: Leases
    committer: Committer
    pictures: Pictures
    statistics: Statistics
    confirmed: ConfirmedEntries
    _comparisons: SingleFlight[tuple[str, str, int], _Older | None] = field(
        default_factory=SingleFlight
    )

    async def is_current(self, entry: PromptEntry, record: bytes) -> bool:
        """Return whether the manifest names *entry*; remove an older entry."""
        current = await self.current(entry, record)
        return current is not None and current.image_id == entry.image_id

    async def current(self, entry: PromptEntry, record: bytes) -> PromptEntry | None:
        """Return the entry that the manifest names, None for one that was purged.

        *entry* is removed where it is another one. Raises `Unavailable` errors.
        """
        doubts, prompt_hash = self.index.doubts, entry.prompt_hash
        if self.confirmed.has(entry, doubts):
            return entry
        # A herd is two reads: each one's began after its entry was read.
        older = await self._comparisons.share_next(
            (prompt_hash, entry.image_id, doubts), partial(self._compare, entry, doubts)
        )
        if older is None:
            return entry
        logger.info("older entry removed", extra={"prompt_hash": prompt_hash})
        if older.manifest is None:
            await self._remove_purged(entry, record)
            return None
        named = older.manifest.entry
        # Only one of those who remove it at once changes the statistics.
        was_there = await self.index.drop(prompt_hash, record)
        self.pictures.forget(entry)
        if named is not None and was_there:
            self.statistics.replaced(entry, named)
        return named

    async def _compare(self, entry: PromptEntry, doubts: int) -> _Older | None:
        """Return None, and confirm *entry*, where its manifest names it."""
        if self.confirmed.has(entry, doubts):
            return None
        manifest = await self.ledger.read(entry.project, entry.prompt_hash)
        named = manifest.entry if manifest else None
        if named is None or named.image_id != entry.image_id:
            return _Older(manifest)
        self.confirmed.note(entry, doubts)
        return None

    async def _remove_purged(self, entry: PromptEntry, record: bytes) -> None:
        # The hits of a purged prompt went with it.
        await self.index.drop_with_hits(entry.prompt_hash, record)
        self.pictures.forget(entry)
        await self.set_right(entry.project, entry.prompt_hash, entry.size)

    async def set_right(self, project: Project, prompt_hash: str, size: int) -> None:
        """Restore a listed prompt without an entry, or take it off the list.

        It goes, with its *size* in bytes, where the ledger does not have it. Under its
        lease: 1. It has no manifest. 2. It is painted, and listed. 3. It would be
        taken off. One whose lease another holds is left to that one.
        """
        with suppress(StillGenerating):
            async with self.leases.writing(project, prompt_hash, frees=True) as lease:
                manifest = await self.ledger.read(project, prompt_hash)
                if manifest is not None:
                    await self.committer.restore(manifest.entry, lease)
                    return
                self.statistics.removed(project, prompt_hash, size)
                await self.statistics.apply_if_possible(str(project))
