"""Rebuild: the entries of a project, restored from its manifests.

Entries that are there already are passed over, so that a run that was
interrupted goes on where it stopped, and two runs do no harm. Those of a Redis
that came back older give way to what their manifests name.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from app.errors import LaterVersion, StillGenerating
from app.prompt_cache.entry.entry import PromptEntry

if TYPE_CHECKING:
    from collections.abc import Callable

    from app.prompt_cache.entry.ledger import Ledger
    from app.prompt_cache.flight.leases import Leases
    from app.prompt_cache.painting.commit import Committer
    from app.prompt_cache.statistics import Statistics
    from app.storage.ports.prompt_index import PromptIndex
    from app.storage.storage_key import Project


@dataclass(slots=True)
class RebuildCount:
    """The counts of a rebuild: entries *restored*, already *known*, or *lost*.

    Lost are manifests that can't be read or whose picture is gone; *busy* are
    prompts whose lease another request held; a *later* release wrote the manifests
    of others.
    """

    restored: int = 0
    known: int = 0
    lost: int = 0
    busy: int = 0
    later: int = 0

    def __iadd__(self, other: RebuildCount) -> Self:
        self.restored += other.restored
        self.known += other.known
        self.lost += other.lost
        self.busy += other.busy
        self.later += other.later
        return self


@dataclass(frozen=True, slots=True, kw_only=True)
class Rebuild:
    """Restores entries at no more than so many manifests a second."""

    index: PromptIndex
    ledger: Ledger
    leases: Leases
    committer: Committer
    statistics: Statistics

    async def run(
        self,
        project: Project,
        *,
        per_second: float,
        on_progress: Callable[[], object] = lambda: None,
    ) -> RebuildCount:
        """Restore every entry of *project*; *on_progress* after each manifest."""
        tally = RebuildCount()
        loop = asyncio.get_running_loop()
        due = loop.time()
        async for prompt_hash in self.ledger.manifests(project):
            await self._restore(project, prompt_hash, tally)
            on_progress()
            due = max(due + 1 / per_second, loop.time() - 1)
            await asyncio.sleep(max(0, due - loop.time()))
        return tally

    async def _known(self, prompt_hash: str) -> PromptEntry | None:
        (seen,) = await self.index.peek([prompt_hash])
        return PromptEntry.from_record(prompt_hash, seen.record) if seen else None

    async def _listed(self, known: PromptEntry, tally: RebuildCount) -> None:
        """List an entry: the list may have lost it with a replica's last batch."""
        self.statistics.added(known)
        await self.statistics.apply_if_possible()
        tally.known += 1

    async def _restore(
        self, project: Project, prompt_hash: str, tally: RebuildCount
    ) -> None:
        try:
            async with self.leases.writing(project, prompt_hash) as lease:
                # Read under the lease: a purge in between leaves nothing behind.
                known = await self._known(prompt_hash)
                if known is not None and not self.index.doubts:
                    await self._listed(known, tally)
                    return
                manifest = await self.ledger.read(project, prompt_hash)
                named = manifest.entry if manifest else None
                if known and named and known.image_id == named.image_id:
                    await self._listed(known, tally)
                elif await self.committer.restore(named, lease):
                    tally.restored += 1
                else:
                    tally.lost += 1
        except StillGenerating:
            tally.busy += 1
        except LaterVersion:
            tally.later += 1
