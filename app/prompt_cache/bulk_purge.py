"""Bulk purge: many prompts of a project, a bounded number or time at once."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from cachetools import TTLCache

from app.errors import NotFound, StillGenerating, Unavailable
from app.prompt_cache.entry.entry import PromptEntry

if TYPE_CHECKING:
    from collections.abc import Sequence

    from app.prompt_cache.entry.ledger import Ledger
    from app.prompt_cache.purge import Purge
    from app.prompt_cache.statistics import Statistics
    from app.storage.ports.prompt_index import PromptIndex
    from app.storage.storage_key import Project

MOST_PROMPTS = 1000
AT_MOST_SECONDS = 10.0
AT_ONCE = 8
LOOKED_AT_ONCE = 100

# Where a look for old prompts among many young ones goes on.
_PLACES = 1024
_PLACE_SECONDS = 600.0


@dataclass(slots=True)
class Purged:
    """What a call came to; *more* says that there may be more to remove."""

    deleted: int = 0
    failed: int = 0
    more: bool = False


@dataclass(slots=True)
class _Call:
    """One call: its bounds, and what it has come to."""

    deadline: float
    left: int
    purged: Purged = field(default_factory=Purged)
    outage: Unavailable | None = None

    @property
    def is_over(self) -> bool:
        is_late = time.monotonic() >= self.deadline
        return self.outage is not None or self.left <= 0 or is_late


@dataclass(frozen=True, slots=True, kw_only=True)
class BulkPurge:
    """Purges many prompts, each by the rules of one."""

    purge: Purge
    index: PromptIndex
    ledger: Ledger
    statistics: Statistics
    most_prompts: int = MOST_PROMPTS
    at_most_seconds: float = AT_MOST_SECONDS
    _places: TTLCache[tuple[str, float], str] = field(
        default_factory=lambda: TTLCache(_PLACES, _PLACE_SECONDS)
    )

    async def these(self, project: Project, prompt_hashes: Sequence[str]) -> Purged:
        """Remove the prompts that are named; unknown ones are not counted.

        Raises the outage that kept it from removing anything.
        """
        call = self._begin()
        left = list(dict.fromkeys(prompt_hashes))
        while left and not call.is_over:
            batch, left = left[:AT_ONCE], left[AT_ONCE:]
            await self._run(project, batch, call)
        return _told(call, more=bool(left))

    async def all(self, project: Project) -> Purged:
        """Remove everything, what only Redis knows as well."""
        return await self.older_than(project, 0.0)

    async def older_than(self, project: Project, seconds: float) -> Purged:
        """Remove what was created so many seconds ago; 0 is everything.

        Raises like `these`.
        """
        call = self._begin()
        place = (str(project), seconds)
        before_ms = round((time.time() - seconds) * 1000) if seconds else None
        after, at_end = self._places.pop(place, ""), False
        while not at_end and not call.is_over:
            hashes = await self._next(project, after)
            at_end = len(hashes) < LOOKED_AT_ONCE
            old = await self._old(project, hashes, before_ms)
            while old and not call.is_over:
                batch, old = old[:AT_ONCE], old[AT_ONCE:]
                await self._run(project, batch, call)
            if old:
                # The next call goes on before the first one that is left.
                after, at_end = before(old[0]), False
            elif hashes:
                after = hashes[-1]
        if at_end and before_ms is None and not call.is_over:
            at_end = await self._only_listed(project, call)
        if not at_end:
            self._places[place] = after
        return _told(call, more=not at_end)

    def _begin(self) -> _Call:
        return _Call(time.monotonic() + self.at_most_seconds, self.most_prompts)

    async def _next(self, project: Project, after: str) -> list[str]:
        hashes: list[str] = []
        async for prompt_hash in self.ledger.manifests(project, after=after):
            hashes.append(prompt_hash)
            if len(hashes) == LOOKED_AT_ONCE:
                break
        return hashes

    async def _old(
        self, project: Project, hashes: list[str], before_ms: int | None
    ) -> list[str]:
        if before_ms is None or not hashes:
            return hashes
        records = await self.index.peek(hashes)
        old = []
        for prompt_hash, seen in zip(hashes, records, strict=True):
            entry = PromptEntry.from_record(prompt_hash, seen.record) if seen else None
            if entry is None:
                manifest = await self.ledger.read(project, prompt_hash)
                entry = manifest.entry if manifest else None
            if entry is not None and entry.created_ms <= before_ms:
                old.append(prompt_hash)
        return old

    async def _only_listed(self, project: Project, call: _Call) -> bool:
        """Remove what the list of Redis has besides; say if that was all."""
        places = await self.statistics.page(
            str(project), by_hits=False, after=None, limit=self.most_prompts
        )
        for at in range(0, len(places), AT_ONCE):
            if call.is_over:
                return False
            batch = [place.prompt_hash for place in places[at : at + AT_ONCE]]
            await self._run(project, batch, call)
        return len(places) < self.most_prompts

    async def _run(
        self, project: Project, prompt_hashes: Sequence[str], call: _Call
    ) -> None:
        call.left -= len(prompt_hashes)
        async with asyncio.TaskGroup() as tasks:
            for prompt_hash in prompt_hashes:
                tasks.create_task(self._one(project, prompt_hash, call))

    async def _one(self, project: Project, prompt_hash: str, call: _Call) -> None:
        try:
            await self.purge.run(project, prompt_hash)
        except NotFound:
            return
        except StillGenerating:
            call.purged.failed += 1
        except Unavailable as outage:
            call.purged.failed += 1
            call.outage = outage
        else:
            call.purged.deleted += 1


def before(prompt_hash: str) -> str:
    """Return the last hash in order that comes before *prompt_hash*."""
    return f"{int(prompt_hash, 16) - 1:064x}" if int(prompt_hash, 16) else ""


def _told(call: _Call, *, more: bool) -> Purged:
    if call.outage is not None and not call.purged.deleted:
        raise call.outage
    call.purged.more = more or call.outage is not None
    return call.purged
