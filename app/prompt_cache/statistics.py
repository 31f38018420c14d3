"""Statistics of each project, gathered here and written in batches.

A hit does not wait for its statistics: they are summed in memory and applied
a few times a second, each batch exactly once. A replica that is killed loses
at most its last batch.
"""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from app.background import running
from app.errors import CacheUnavailable
from app.storage.ports.statistics import SECONDS_AN_HOUR, Batch, this_hour

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from app.prompt_cache.entry.entry import PromptEntry
    from app.storage.ports.statistics import StatisticsStore
    from app.storage.storage_key import Project

logger = logging.getLogger(__name__)

APPLY_EVERY_SECONDS = 0.2

# Which sums have a history, and whether they count or add up money.
HISTORY: dict[str, type[int | float]] = {
    "hits": int,
    "misses": int,
    "coalesced": int,
    "failures": int,
    "spend": float,
    "saved": float,
}


@dataclass(frozen=True, slots=True)
class Cursor:
    """A position in a project's list of prompts: by access (ms) or by hits."""

    score: int
    prompt_hash: str


class Statistics:
    """The sums of this replica on their way to the store."""

    def __init__(self, store: StatisticsStore) -> None:
        self._store = store
        self._batches: dict[str, Batch] = defaultdict(Batch)
        self._sending: dict[str, tuple[int, Batch]] = {}
        self._number = 0
        self._applying: dict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    def hit(self, entry: PromptEntry, hits: int, now_ms: int) -> None:
        """Note a counted hit."""
        batch = self._batches[str(entry.project)]
        batch.sums["hits"] += 1
        if entry.price:
            batch.sums["saved"] += entry.price
        # Replies overtake each other: the latest hit is not the last to come.
        access = (now_ms, hits)
        batch.accesses[entry.prompt_hash] = max(
            access, batch.accesses.get(entry.prompt_hash, access)
        )

    def coalesced(self, entry: PromptEntry) -> None:
        """Note that a hit, counted as such, had waited for a painting."""
        self._batches[str(entry.project)].sums["coalesced"] += 1

    def generated(self, project: str, seconds: float) -> None:
        """Note a generation that brought a picture."""
        sums = self._batches[project].sums
        sums["misses"] += 1
        sums["generation_seconds"] += seconds

    def failed(self, project: str) -> None:
        """Note a generation that brought none."""
        self._batches[project].sums["failures"] += 1

    def spent(self, project: str, price: float) -> None:
        """Note what a call may cost, or, below zero, that one was free after all."""
        if price:
            self._batches[project].sums["spend"] += price

    def added(self, entry: PromptEntry) -> None:
        """Note an entry that is there now; a second call is a no-op."""
        batch = self._batches[str(entry.project)]
        batch.added[entry.prompt_hash] = (entry.created_ms, entry.size)

    def replaced(self, old: PromptEntry, new: PromptEntry) -> None:
        """Note that an entry has another picture now."""
        # Where a lost Redis has forgotten the old one, it is there again first.
        self.added(old)
        batch = self._batches[str(new.project)]
        batch.sums["bytes_stored"] += new.size - old.size

    def removed(self, project: Project, prompt_hash: str, size: int) -> None:
        """Note an entry of *size* bytes that was purged."""
        batch = self._batches[str(project)]
        batch.added.pop(prompt_hash, None)
        batch.accesses.pop(prompt_hash, None)
        # Of two purges in one batch, the list knows the size of the first.
        batch.removed.setdefault(prompt_hash, size)

    async def apply(self) -> None:
        """Send what was gathered; what can't be sent waits under its number.

        Each project by itself: in a Cluster the others go on where one primary
        does not answer. Raises `CacheUnavailable` when all have been tried.
        """
        projects = {*self._batches, *self._sending}
        failures = await asyncio.gather(
            *map(self._apply_one, projects), return_exceptions=True
        )
        for failure in failures:
            if failure is not None:
                raise failure

    async def _apply_one(self, project: str) -> None:
        async with self._applying[project]:
            if project not in self._sending and project in self._batches:
                self._number += 1
                batch = self._batches.pop(project)
                self._sending[project] = (self._number, batch)
            if project in self._sending:
                number, batch = self._sending[project]
                await self._store.apply(project, number, batch)
                del self._sending[project]

    async def apply_if_possible(self, project: str | None = None) -> None:
        """Send what was gathered of *project*, or of all; leave it without Redis.

        The holder of a prompt's lease calls this before it releases it, so that
        what came and what went reach the list in their order.
        """
        with suppress(CacheUnavailable):
            await (self.apply() if project is None else self._apply_one(project))

    async def read(self, project: str) -> dict[str, Any]:
        """Return a project's sums under the names of the contract."""
        await self.apply_if_possible(project)
        sums = await self._store.read(project)
        hits, misses = int(sums.get("hits", 0)), int(sums.get("misses", 0))
        last_ms = sums.get("last_accessed_ms")
        return {
            "project": project,
            "entries": int(sums.get("entries", 0)),
            "hits": hits,
            "misses": misses,
            "hit_rate": hits / (hits + misses) if hits + misses else 0,
            "coalesced": int(sums.get("coalesced", 0)),
            "failures": int(sums.get("failures", 0)),
            "bytes_stored": int(sums.get("bytes_stored", 0)),
            "generation_seconds": round(sums.get("generation_seconds", 0.0), 6),
            # Below zero where Redis was emptied while a call was open that was free.
            "spend": round(max(0.0, sums.get("spend", 0.0)), 6),
            "saved": round(sums.get("saved", 0.0), 6),
            "last_accessed_at": (
                datetime.fromtimestamp(last_ms / 1000, UTC) if last_ms else None
            ),
        }

    async def history(self, project: str, hours: int) -> list[dict[str, Any]]:
        """Return so many hours by the contract's names, the running one last."""
        await self.apply_if_possible(project)
        last = this_hour()
        asked = range(last - hours + 1, last + 1)
        found = await self._store.history(project, asked)
        return [
            {
                "at": datetime.fromtimestamp(hour * SECONDS_AN_HOUR, UTC),
                **{
                    name: round(kind(sums.get(name, 0)), 6)
                    for name, kind in HISTORY.items()
                },
            }
            for hour, sums in zip(asked, found, strict=True)
        ]

    async def page(
        self, project: str, *, by_hits: bool, after: Cursor | None, limit: int
    ) -> list[Cursor]:
        """Return prompts, the latest or the most hit first, after *after*."""
        last = (after.score, after.prompt_hash) if after else (0, "")
        await self.apply_if_possible(project)
        found = await self._store.page(
            project, by_hits=by_hits, after=last, limit=limit
        )
        return [Cursor(score, prompt_hash) for score, prompt_hash in found]

    @asynccontextmanager
    async def applied(self) -> AsyncIterator[None]:
        """Apply batches as long as the context is open, and the last at its end."""
        try:
            async with running(self._keep_applying(), name="statistics"):
                yield
        finally:
            await self.apply_if_possible()

    async def _keep_applying(self) -> None:
        while True:
            await asyncio.sleep(APPLY_EVERY_SECONDS)
            # The batch waits under its number; the outage is logged elsewhere.
            await self.apply_if_possible()
