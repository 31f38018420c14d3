"""Jobs and generations of dead leaders: each is finished by another replica."""

from __future__ import annotations

import asyncio
import logging
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from uuid import uuid4

from app.background import ended, running
from app.errors import CacheUnavailable, NotFound, ServiceError, ShuttingDown
from app.prompt_cache.flight.remembered_failures import from_note
from app.prompt_cache.painting.painter import image_of
from app.prompt_cache.painting.work import LeftJob

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from datetime import timedelta

    from app.generation.spending import PaidAlready
    from app.prompt_cache.entry.entry import PromptEntry
    from app.prompt_cache.flight.flights import Flights
    from app.prompt_cache.flight.result import FlightResult
    from app.prompt_cache.generations.generations import Generations
    from app.prompt_cache.generations.record import GenerationRecord, OpenGeneration
    from app.prompt_cache.painting.left_jobs import LeftJobs
    from app.prompt_cache.painting.painter import Painter
    from app.storage.ports.prompt_index import PromptIndex
    from app.storage.storage_key import Project

logger = logging.getLogger(__name__)

LOOKS_A_LEASE = 8
MAX_SECONDS_BETWEEN_LOOKS = 1.0
AT_ONCE = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftBehind:
    """Ends the generations whose replica is silent; each is one replica's at a time.

    A job is gone on with at once, under the generation's id: its picture is paid
    for. A generation without a job, and without a lease for half a lease more
    (its leader may only have stalled), ends as its prompt did.
    """

    index: PromptIndex
    left_jobs: LeftJobs
    painter: Painter
    generations: Generations
    flights: Flights[FlightResult]
    refreshes: Flights[FlightResult]
    paid_already: Callable[[Project], PaidAlready]
    lease_for: timedelta
    _ending: set[asyncio.Task[None]] = field(default_factory=set)
    _stopped: asyncio.Event = field(default_factory=asyncio.Event)

    @asynccontextmanager
    async def looked_after(self) -> AsyncIterator[None]:
        """Look for what is left as long as the context is open."""
        try:
            async with running(self._keep_looking(), name="left-behind"):
                yield
        finally:
            await asyncio.gather(*map(ended, list(self._ending)))

    def stop(self) -> None:
        """Begin nothing more: this replica is on its way out."""
        self._stopped.set()

    async def look(self) -> None:
        """Begin to end what is left right now."""
        for generation in await self.generations.claimed(AT_ONCE):
            task = asyncio.create_task(self._end(generation), name="left-behind")
            self._ending.add(task)
            task.add_done_callback(self._ending.discard)

    async def _keep_looking(self) -> None:
        seconds = self.lease_for.total_seconds() / LOOKS_A_LEASE
        while not self._stopped.is_set():
            await asyncio.sleep(min(seconds, MAX_SECONDS_BETWEEN_LOOKS))
            with suppress(CacheUnavailable):
                await self.look()

    async def _end(self, generation: OpenGeneration) -> None:
        try:
            if await self._goes_on(generation) or await self._has_ended(generation):
                return
            await asyncio.sleep(self.lease_for.total_seconds() / 2)
            if await self._goes_on(generation) or await self._has_ended(generation):
                return
            await self._conclude(generation)
        except ServiceError as outage:
            # It is claimed once more, after a lease.
            logger.warning(
                "generation not ended yet", extra={"reason": type(outage).__name__}
            )

    async def _goes_on(self, generation: OpenGeneration) -> bool:
        """Return whether the prompt has a job, and then have it finished."""
        note = await self.left_jobs.of(generation.project, generation.prompt_hash)
        if note is None:
            return False
        record = await self._record(generation)
        generation_id = generation.generation_id
        if record is None or record.has_ended:
            # Its picture could not be fetched: this is another attempt.
            generation_id = str(uuid4())
            await self.generations.close(generation)
        permit = self.paid_already(generation.project)
        flights = self.refreshes if note.replaces else self.flights
        flights.take_up(LeftJob(note.key, self.painter, permit, note), generation_id)
        return True

    async def _has_ended(self, generation: OpenGeneration) -> bool:
        """Return whether there is nothing to end, or another leader is at work."""
        record = await self._record(generation)
        if record is None or record.has_ended:
            await self.generations.close(generation)
            return True
        return await self.index.holder(generation.prompt_hash) is not None

    async def _conclude(self, generation: OpenGeneration) -> None:
        record = await self._record(generation)
        if record is None:
            return
        entry = await self.painter.found(generation.project, generation.prompt_hash)
        if entry is not None and entry.image_id != record.replaces:
            await self.generations.end(record, image=image_of(entry), is_named=True)
            return
        error = await self._failure(record, entry)
        await self.generations.end(record, error=error, is_named=True)

    async def _failure(
        self, record: GenerationRecord, entry: PromptEntry | None
    ) -> ServiceError:
        remembered = await self.index.remembered(record.prompt_hash)
        if remembered is not None:
            return from_note(remembered.failure, remembered.remaining)
        if record.replaces and entry is None:
            return NotFound("The entry was purged.")
        return ShuttingDown("The replica that painted it ended.")

    async def _record(self, generation: OpenGeneration) -> GenerationRecord | None:
        return await self.generations.find(generation.project, generation.generation_id)
