"""The lists of projects: entries by page, and none that an older Redis lists.

While the index has doubts about its data, what a list names is compared with its
manifest before it is shown or counted.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from cachetools import LRUCache

from app.background import ended
from app.errors import LaterVersion, Unavailable
from app.prompt_cache.seen_entry import SeenEntry

if TYPE_CHECKING:
    from collections.abc import Sequence

    from app.prompt_cache.older_entries import OlderEntries
    from app.prompt_cache.statistics import Cursor, Statistics
    from app.storage.ports.prompt_index import PromptIndex, SeenRecord
    from app.storage.storage_key import Project

logger = logging.getLogger(__name__)

MANIFESTS_AT_ONCE = 16
WALKED_AT_ONCE = 100
# How long statistics wait for a list that is compared for the first time.
WAIT_SECONDS = 1.0
_MAX_PROJECTS = 10_000


@dataclass(frozen=True, kw_only=True)
class ListedEntries:
    """The entries that are in the list of a project."""

    index: PromptIndex
    older_entries: OlderEntries
    statistics: Statistics
    wait_seconds: float = WAIT_SECONDS
    # The run of Redis whose list of a project was compared from end to end.
    _runs_compared: LRUCache[str, int] = field(
        default_factory=lambda: LRUCache(_MAX_PROJECTS)
    )
    _walks: dict[str, asyncio.Task[None]] = field(default_factory=dict)
    _at_once: asyncio.Semaphore = field(
        default_factory=lambda: asyncio.Semaphore(MANIFESTS_AT_ONCE)
    )

    async def page(
        self, project: Project, *, by_hits: bool, after: Cursor | None, limit: int
    ) -> tuple[list[SeenEntry], Cursor | None]:
        """Return entries, the latest or the most hit first, and where to go on."""
        cursors = await self.statistics.page(
            str(project), by_hits=by_hits, after=after, limit=limit
        )
        seen = await self._seen(project, [cursor.prompt_hash for cursor in cursors])
        return seen, cursors[-1] if len(cursors) == limit else None

    async def sums(self, project: Project) -> dict[str, Any]:
        """Return the statistics of *project* under the names of the contract.

        After a Redis that came back older its list is compared first: what is not
        compared within *wait_seconds* is so in the background.
        """
        # Read first: the answer itself may be the first of another run.
        sums = await self.statistics.read(str(project))
        if self.index.doubts == self._runs_compared.get(str(project), 0):
            return sums
        await asyncio.wait([self._walk_of(project)], timeout=self.wait_seconds)
        return await self.statistics.read(str(project))

    async def give_up(self) -> None:
        """End every comparison: the next one begins anew."""
        await asyncio.gather(*map(ended, list(self._walks.values())))

    async def _seen(
        self, project: Project, prompt_hashes: Sequence[str]
    ) -> list[SeenEntry]:
        records = await self.index.peek(prompt_hashes)

        async def look(prompt_hash: str, record: SeenRecord | None) -> SeenEntry | None:
            seen = SeenEntry.of(prompt_hash, record)
            if seen is not None and not self.index.doubts:
                return seen
            async with self._at_once:
                return await self._compared(project, prompt_hash, seen, record)

        looks = map(look, prompt_hashes, records)
        return [seen for seen in await asyncio.gather(*looks) if seen is not None]

    async def _compared(
        self,
        project: Project,
        prompt_hash: str,
        seen: SeenEntry | None,
        record: SeenRecord | None,
    ) -> SeenEntry | None:
        """Return the entry that the manifest names: *seen*, another one, or None."""
        if seen is None or record is None:
            return await self._restored(project, prompt_hash)
        # One of a later release is logged, and an outage of itself alone.
        with suppress(LaterVersion):
            entry = await self.older_entries.current(seen.entry, record.record)
            if entry is not None:
                return SeenEntry(entry, seen.hits, seen.last_accessed_at)
        return None

    async def _restored(self, project: Project, prompt_hash: str) -> SeenEntry | None:
        """Return an entry that Redis has lost, if the ledger has it."""
        with suppress(Unavailable):
            await self.older_entries.set_right(project, prompt_hash, 0)
            (record,) = await self.index.peek([prompt_hash])
            return SeenEntry.of(prompt_hash, record)
        return None

    def _walk_of(self, project: Project) -> asyncio.Task[None]:
        """Return the comparison of a list, one for all who need it meanwhile."""
        name = str(project)
        walk = self._walks.get(name)
        if walk is None:
            walk = asyncio.create_task(self._walk(project), name="older-list")
            self._walks[name] = walk
            walk.add_done_callback(lambda _: self._walks.pop(name, None))
        return walk

    async def _walk(self, project: Project) -> None:
        """Compare the whole list; an outage leaves the rest to the next question."""
        doubts, after = self.index.doubts, None
        with suppress(Unavailable):
            while True:
                _, after = await self.page(
                    project, by_hits=False, after=after, limit=WALKED_AT_ONCE
                )
                if after is None:
                    break
            self._runs_compared[str(project)] = doubts
            logger.info("list compared", extra={"project": str(project)})
