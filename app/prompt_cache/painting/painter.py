"""The painter: look in the ledger, paint, commit, or remember a failure."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from uuid import uuid4

from app.errors import (
    CacheUnavailable,
    ResultDelayed,
    StorageUnavailable,
)
from app.generation.painting import Progress
from app.prompt_cache.entry.entry import PromptEntry
from app.prompt_cache.flight.remembered_failures import RememberedFailure
from app.prompt_cache.flight.result import FlightResult
from app.prompt_cache.generations.record import (
    GenerationRecord,
    OpenGeneration,
    new_record,
)
from app.prompt_cache.painting.kept_job import KeptJob

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from app.generation.models import Painting
    from app.image import Image
    from app.prompt_cache.entry.ledger import Ledger
    from app.prompt_cache.entry.prompt_key import PromptKey
    from app.prompt_cache.generations.generations import Generations
    from app.prompt_cache.painting.asking import Asking
    from app.prompt_cache.painting.assignment import Assignment
    from app.prompt_cache.painting.commit import Committer
    from app.prompt_cache.painting.left_jobs import LeftJobs
    from app.prompt_cache.painting.unstored_pictures import UnstoredPictures
    from app.storage.ports.prompt_index import PromptIndex
    from app.storage.storage_key import Project, StorageKey

    PaintingRefusal = Callable[[], Awaitable[StorageUnavailable | None]]

logger = logging.getLogger(__name__)

# A moment after its leader has let go of the lease.
ONCE_RELEASED = timedelta(seconds=0.5)


async def nothing_refused() -> None:
    """Refuse no painting: the ledger is known to keep one answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Painter:
    """The leader's work, for one prompt at a time, under its lease."""

    index: PromptIndex
    ledger: Ledger
    visitors_ledger: Ledger
    asking: Asking
    committer: Committer
    unstored: UnstoredPictures
    left_jobs: LeftJobs
    generations: Generations
    generation_timeout: timedelta
    # Returns why nothing may be painted over this store, or None.
    refusal: PaintingRefusal = nothing_refused

    async def restore_or_paint(self, assignment: Assignment) -> FlightResult:
        """Restore the entry from its manifest; paint it where there is none."""
        key, is_visitor = assignment.key, assignment.permit.is_visitor
        ledger = self.visitors_ledger if is_visitor else self.ledger
        try:
            # 1. The store is slow. 2. The lease runs out. 3. Another replica paints.
            async with assignment.lease.kept(retaking=False):
                manifest = await ledger.read(key.project, key.hash)
                entry = manifest.entry if manifest else None
                if entry is not None and await self.committer.restore(
                    entry, assignment.lease
                ):
                    return FlightResult(entry)
        except StorageUnavailable as outage:
            # Else a follower would lead, and run into the same time-out while
            # those who wait have waited for ours.
            await self.asking.remember(
                assignment, RememberedFailure.of(key.project, outage)
            )
            raise
        # A manifest whose picture is gone does not count: it is replaced.
        return await self.paint(replace(assignment, replacing=manifest))

    async def found(self, project: Project, prompt_hash: str) -> PromptEntry | None:
        """Return the picture of a prompt that was painted, None where it is not there.

        An outage counts as not there: the answer is for records of generations.
        """
        with suppress(CacheUnavailable, StorageUnavailable):
            (seen,) = await self.index.peek([prompt_hash])
            if seen is not None and not self.index.doubts:
                return PromptEntry.from_record(prompt_hash, seen.record)
            manifest = await self.ledger.read(project, prompt_hash)
            entry = manifest.entry if manifest else None
            if entry is not None and await self.ledger.has_image(entry.storage_key):
                return entry
        return None

    async def paint(self, assignment: Assignment) -> FlightResult:
        """Ask the provider, commit what it gave, or remember why it did not."""
        refusal = await self.refusal()
        if refusal is not None:
            raise refusal
        if assignment.replacing is not None:
            # Read before anything is paid: at the end the old picture is noted there.
            key = assignment.key
            async with assignment.lease.kept(retaking=False):
                await self.ledger.noted_purge(key.project, key.hash)
        flight = assignment.flight
        record = await self._record(assignment)
        # Before anything is paid: a job that was begun is waited for.
        left = await self.left_jobs.of(assignment.key.project, assignment.key.hash)
        keeper = KeptJob.of(self.index, assignment, left)
        flight.is_recorded = True
        progress = Progress()
        try:
            async with self.generations.recorded(record, progress):
                flight.announce()
                result = await self._paint(assignment, keeper, progress)
        except BaseException as failure:
            await self._failed(record, failure, keeper, is_named=flight.is_promised)
            raise
        await self.generations.end(record, image=image_of(result.entry))
        return result

    async def _paint(
        self, assignment: Assignment, keeper: KeptJob, progress: Progress
    ) -> FlightResult:
        key, flight, lease = assignment.key, assignment.flight, assignment.lease
        deadline = _now() + self.generation_timeout.total_seconds()
        async with (
            lease.kept(),
            assignment.permit.painting(
                flight.generation_id, follows=flight.followed_id
            ) as permit,
        ):
            painting = await self.asking.paint(
                assignment, keeper, permit, progress=progress, deadline=deadline
            )
        entry = _entry_of(key, painting, flight.generation_id)
        try:
            with flight.overdue_at(deadline):
                winner = await self._store(assignment, entry, painting.image)
        except StorageUnavailable as outage:
            lost = await self.asking.lost(assignment, painting, keeper)
            raise lost from outage
        flight.close()
        replacing = assignment.replacing
        result = await self.committer.conclude(
            entry,
            painting.image,
            lease,
            winner=winner,
            replaced=replacing.entry if replacing else None,
        )
        if result.is_painted:
            result.usage = painting.origin.usage
        return result

    async def _store(
        self, assignment: Assignment, entry: PromptEntry, image: Image
    ) -> PromptEntry:
        """Store a picture and its manifest; return whose picture the prompt has now."""
        flight, lease = assignment.flight, assignment.lease
        deadline = self.committer.deadline()
        async with self.unstored.holding(entry, lease, flight) as unstored:
            async with lease.kept():
                await self.committer.keep(entry, image, deadline, unstored.refused)
            # Renewed, but not taken again: see `Contest`.
            async with lease.kept(retaking=False):
                return await self.committer.settle(
                    entry,
                    lease,
                    assignment.replacing,
                    deadline=deadline,
                    refused=unstored.refused,
                    is_served=assignment.is_served,
                )

    async def _record(self, assignment: Assignment) -> GenerationRecord:
        """Return the record to write: that of a former leader goes on."""
        key, flight = assignment.key, assignment.flight
        generation_id = flight.generation_id
        if flight.takes_up:
            with suppress(CacheUnavailable):
                found = await self.generations.find(key.project, generation_id)
                if found is not None and not found.has_ended:
                    return found
        return new_record(
            key.project, key.hash, generation_id, replaces=assignment.replaces
        )

    async def _failed(
        self,
        record: GenerationRecord,
        failure: BaseException,
        keeper: KeptJob,
        *,
        is_named: bool,
    ) -> None:
        """Write that the generation failed, unless its job goes on without us."""
        generation = OpenGeneration.of(record)
        if isinstance(failure, asyncio.CancelledError) and keeper.is_there:
            await self.generations.leave(generation, ONCE_RELEASED)
            return
        await self.generations.end(record, error=failure, is_named=is_named)
        if isinstance(failure, ResultDelayed):
            # Its picture is paid for: fetched again by itself, at growing intervals.
            await self.generations.leave(generation, keeper.fetched_again_in())


def image_of(entry: PromptEntry) -> tuple[str, StorageKey]:
    """Return the id and the key of the picture, for a generation's record."""
    return entry.image_id, entry.storage_key


def _now() -> float:
    return asyncio.get_running_loop().time()


def _entry_of(key: PromptKey, painting: Painting, generation_id: str) -> PromptEntry:
    image = painting.image
    return PromptEntry(
        prompt_hash=key.hash,
        project=key.project,
        parameters=key.parameters,
        image_id=str(uuid4()),
        media_type=image.media_type,
        size=len(image.data),
        digest=image.digest,
        width=image.width,
        height=image.height,
        model=painting.model,
        price=painting.price,
        is_placeholder=painting.origin.is_placeholder,
        # HTTP dates have whole seconds; the milliseconds order lists.
        created_ms=round(datetime.now(UTC).timestamp() * 1000),
        generation_id=generation_id,
        provenance=painting.provenance,
    )
