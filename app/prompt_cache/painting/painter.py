"""What a leader does: look in the ledger, paint, commit, or remember a failure."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from uuid import uuid4

from app.errors import (
    CacheUnavailable,
    GenerationError,
    ResultDelayed,
    StorageUnavailable,
)
from app.generation.painting import Progress
from app.generation.provider import PaintRequest, Reference
from app.prompt_cache.entry.entry import PromptEntry
from app.prompt_cache.entry.prompt_key import OPTIONS
from app.prompt_cache.flight.remembered_failures import Memory
from app.prompt_cache.flight.result import FlightResult
from app.prompt_cache.generations.record import (
    GenerationRecord,
    OpenGeneration,
    new_record,
)
from app.prompt_cache.painting.kept_job import KeptJob

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from contextlib import AbstractAsyncContextManager

    from app.generation.models import Models, Painting, ReferenceLoader
    from app.generation.spending import PaintingPermit, Permit
    from app.prompt_cache.entry.ledger import Ledger, Manifest
    from app.prompt_cache.entry.prompt_key import Parameters, PromptKey
    from app.prompt_cache.flight.flight import Flight
    from app.prompt_cache.flight.leases import Lease
    from app.prompt_cache.generations.generations import Generations
    from app.prompt_cache.painting.commit import Committer
    from app.prompt_cache.statistics import Statistics
    from app.storage.ports.prompt_index import PromptIndex
    from app.storage.storage_key import Project, StorageKey

    References = Callable[
        [Project, tuple[str, ...]], AbstractAsyncContextManager[ReferenceLoader | None]
    ]

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
    models: Models
    committer: Committer
    generations: Generations
    statistics: Statistics
    references: References
    generation_timeout: timedelta
    # Why the ledger may not be painted into, if it may not.
    refusal: PaintingRefusal = nothing_refused

    async def restore_or_paint(
        self,
        key: PromptKey,
        flight: Flight[FlightResult],
        lease: Lease,
        permit: Permit,
    ) -> FlightResult:
        """Did we paint it and forget? Else paint it."""
        try:
            manifest = await self.ledger.read(key.project, key.hash)
            entry = manifest.entry if manifest else None
            if entry is not None and await self.committer.restore(entry, lease):
                return FlightResult(entry)
        except StorageUnavailable as outage:
            # Else whoever follows would lead, and run into the same time-out
            # while those who wait have waited for ours.
            await self._remember(key, lease, Memory.of(key.project, outage))
            raise
        # A manifest whose picture is gone does not count: it is replaced.
        return await self.paint(key, flight, lease, manifest, permit)

    async def found(self, project: Project, prompt_hash: str) -> PromptEntry | None:
        """Return the picture of a prompt that was painted, None where it is not there.

        An outage is as if it were not there: this is for records, which are news.
        """
        with suppress(CacheUnavailable, StorageUnavailable):
            (seen,) = await self.index.peek([prompt_hash])
            if seen is not None:
                return PromptEntry.from_record(prompt_hash, seen.record)
            manifest = await self.ledger.read(project, prompt_hash)
            entry = manifest.entry if manifest else None
            if entry is not None and await self.ledger.has_image(entry.storage_key):
                return entry
        return None

    async def paint(
        self,
        key: PromptKey,
        flight: Flight[FlightResult],
        lease: Lease,
        replacing: Manifest | None,
        permit: Permit,
        *,
        is_served: bool = False,
        may_begin: bool = True,
    ) -> FlightResult:
        """Ask the provider, commit what it gave, or remember why it did not.

        *is_served* says that the picture of *replacing* is there, and that its
        entry goes on until the new one is committed. Where it *may* not *begin*,
        only a job that was left is waited for.
        """
        refusal = await self.refusal()
        if refusal is not None:
            raise refusal
        deadline = _now() + self.generation_timeout.total_seconds()
        progress = Progress()
        replaces = _image_id_of(replacing) if is_served else None
        record = await self._record(key, flight, replaces)
        # Before anything is paid: a job that was begun is waited for.
        keeper = await KeptJob.of(
            self.index, lease, key, flight.generation_id, replaces
        )
        flight.is_recorded = True
        try:
            async with self.generations.recorded(record, progress):
                flight.announce()
                async with (
                    lease.kept(),
                    permit.painting(flight.generation_id, key.hash) as spending,
                ):
                    painting = await self._ask(
                        keeper, progress, spending, deadline, may_begin=may_begin
                    )
                    entry = _entry_of(key, painting, flight.generation_id)
                    stored_by = self.committer.deadline()
                    with flight.overdue_at(deadline):
                        await self.committer.keep(entry, painting.image, stored_by)
                with flight.overdue_at(deadline):
                    winner = await self.committer.settle(
                        entry,
                        lease,
                        replacing,
                        deadline=stored_by,
                        is_served=is_served,
                    )
                flight.close()
                result = await self.committer.conclude(
                    entry,
                    painting.image,
                    lease,
                    winner=winner,
                    replaced=replacing.entry if replacing else None,
                )
                if result.is_painted:
                    result.usage = painting.origin.usage
        except BaseException as failure:
            await self._failed(record, failure, keeper, is_named=flight.is_promised)
            raise
        await self.generations.end(record, image=image_of(result.entry))
        return result

    async def _record(
        self, key: PromptKey, flight: Flight[FlightResult], replaces: str | None
    ) -> GenerationRecord:
        """Return the record to write: that of a former leader goes on."""
        generation_id = flight.generation_id
        if flight.takes_up:
            with suppress(CacheUnavailable):
                found = await self.generations.find(key.project, generation_id)
                if found is not None and not found.has_ended:
                    return found
        return new_record(key.project, key.hash, generation_id, replaces=replaces)

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
            # What is paid for is fetched without being asked for, ever more seldom.
            await self.generations.leave(generation, keeper.fetched_again_in())

    async def _ask(
        self,
        keeper: KeptJob,
        progress: Progress,
        spending: PaintingPermit,
        deadline: float,
        *,
        may_begin: bool,
    ) -> Painting:
        key, lease = keeper.key, keeper.lease
        project, wanted = str(key.project), key.parameters
        request = PaintRequest(
            prompt=wanted.prompt,
            aspect_ratio=wanted.aspect_ratio,
            width=wanted.width,
            height=wanted.height,
            seed=wanted.seed,
            variant=wanted.variant,
            mask=_unread_mask(wanted),
            **{name: getattr(wanted, name) for name in OPTIONS},
        )
        try:
            async with self.references(key.project, wanted.pictures) as references:
                painting = await self.models.paint(
                    wanted.model,
                    request,
                    deadline=deadline,
                    progress=progress,
                    references=references,
                    reference_count=len(wanted.references),
                    keeper=keeper,
                    spending=spending,
                    may_begin=may_begin,
                )
        except BaseException as failure:
            if isinstance(failure, GenerationError):
                self.statistics.failed(project)
            # Also where we are shut down: nobody else may pay for it at once.
            await asyncio.shield(self._remember_end(key, lease, failure, progress))
            raise
        finally:
            self.statistics.spent(project, progress.spent)
        self.statistics.generated(project, painting.seconds)
        return painting

    async def _remember_end(
        self, key: PromptKey, lease: Lease, failure: BaseException, progress: Progress
    ) -> None:
        """Remember a painting's failure; else the last one that may have been billed.

        1. A model fails, and is billed. 2. The budget refuses its fall-back. 3. The
        refusal is the answer, but the next request must not pay the model again.
        """
        told = failure if isinstance(failure, GenerationError) else progress.charged
        if told is None:
            return
        memory = Memory.of(key.project, told, hold=progress.hold)
        # The first answer says when to come back, as the remembered ones do.
        told.retry_after = memory.retry_after
        keeps_job = isinstance(failure, ResultDelayed)
        await self._remember(key, lease, memory, keeps_job=keeps_job)

    async def _remember(
        self,
        key: PromptKey,
        lease: Lease,
        memory: Memory,
        *,
        keeps_job: bool = False,
    ) -> None:
        try:
            await self.index.fail(
                key.hash,
                lease.token,
                memory.note,
                memory.lasts,
                is_hold=memory.is_hold,
                keeps_job=keeps_job,
            )
        except CacheUnavailable:
            logger.warning("failure is not remembered")


def _unread_mask(wanted: Parameters) -> Reference | None:
    """Return the mask without its bytes, which are read with the references."""
    if wanted.mask is None or wanted.mask_digest is None:
        return None
    return Reference(b"", "image/png", wanted.mask_digest)


def image_of(entry: PromptEntry) -> tuple[str, StorageKey]:
    """Return what a generation's record tells of its picture."""
    return entry.image_id, entry.storage_key


def _image_id_of(manifest: Manifest | None) -> str | None:
    return manifest.entry.image_id if manifest and manifest.entry else None


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
