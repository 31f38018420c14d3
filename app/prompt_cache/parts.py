"""The parts of the prompt cache that other rooms use, and how long they run."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from app.prompt_cache.administration import PromptEntries
    from app.prompt_cache.bulk_purge import BulkPurge
    from app.prompt_cache.cache import PromptCache
    from app.prompt_cache.entry.ledger import Ledger
    from app.prompt_cache.flight.leases import Leases
    from app.prompt_cache.generations.events import GenerationEvents
    from app.prompt_cache.generations.generations import Generations
    from app.prompt_cache.listed_entries import ListedEntries
    from app.prompt_cache.orphans import Orphans
    from app.prompt_cache.painting.hot_tier import HotTier
    from app.prompt_cache.painting.left_behind import LeftBehind
    from app.prompt_cache.painting.painter import Painter
    from app.prompt_cache.painting.pictures import Pictures
    from app.prompt_cache.purge import Purge
    from app.prompt_cache.purge_finisher import PurgeFinisher
    from app.prompt_cache.rebuild import Rebuild
    from app.prompt_cache.statistics import Statistics


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptCacheParts:
    """The parts of one replica; they work while `running` is open."""

    cache: PromptCache
    entries: PromptEntries
    listed: ListedEntries
    purge: Purge
    bulk_purge: BulkPurge
    purge_finisher: PurgeFinisher
    rebuild: Rebuild
    orphans: Orphans
    ledger: Ledger
    leases: Leases
    pictures: Pictures
    painter: Painter
    hot_tier: HotTier
    statistics: Statistics
    generations: Generations
    generation_events: GenerationEvents
    left_behind: LeftBehind

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Apply statistics as long as the context is open, and end every flight."""
        async with (
            self.statistics.applied(),
            self.generations.kept_alive(),
            self.left_behind.looked_after(),
            self.purge_finisher.finishing(),
        ):
            try:
                yield
            finally:
                await self.give_up()

    async def drain(self) -> None:
        """Return when every flight and purge has ended; take up no other leader's."""
        self.left_behind.stop()
        await self.cache.flights.drain()
        await self.entries.refreshes.drain()
        await self.purge.drain()

    async def give_up(self) -> None:
        """End every flight: leases are released, waiters get `ShuttingDown`."""
        await asyncio.gather(
            self.cache.flights.give_up(),
            self.entries.refreshes.give_up(),
            self.listed.give_up(),
        )
