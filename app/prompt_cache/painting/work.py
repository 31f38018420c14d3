"""The work of flights: a missing prompt, a refresh, or a job that was left."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from app.errors import CacheUnavailable, NotFound, StorageUnavailable
from app.prompt_cache.flight.remembered_failures import is_outage
from app.prompt_cache.flight.result import FlightResult
from app.prompt_cache.generations.record import new_record
from app.prompt_cache.painting.assignment import Assignment
from app.prompt_cache.painting.counted_permit import CountedPermit
from app.prompt_cache.painting.overlap import Overlaps
from app.prompt_cache.painting.painter import image_of
from app.storage.ports.prompt_index import FailedBefore

if TYPE_CHECKING:
    from app.generation.spending import Permit
    from app.prompt_cache.entry.entry import PromptEntry
    from app.prompt_cache.entry.prompt_key import PromptKey
    from app.prompt_cache.flight.flight import Flight
    from app.prompt_cache.flight.leases import Lease
    from app.prompt_cache.generations.record import GenerationRecord
    from app.prompt_cache.painting.kept_job import JobNote
    from app.prompt_cache.painting.painter import Painter
    from app.storage.ports.prompt_index import Verdict


@dataclass(frozen=True, slots=True)
class _Painting:
    """Work that may end in a painting, and whose generation may be promised."""

    key: PromptKey
    painter: Painter
    permit: Permit

    @property
    def prompt_hash(self) -> str:
        """The prompt that it is about."""
        return self.key.hash

    @property
    def replaces(self) -> str | None:
        """The id of the picture that is to be replaced; None for a missing one."""
        return None

    async def promise(self, flight: Flight[FlightResult]) -> str:
        """Return the leader's generation if it has a record, or else promise ours.

        A leader that only restores, and a writer, have none.
        """
        generations, led_by = self.painter.generations, flight.leader_id
        if (
            led_by is not None
            and not flight.leads
            and await generations.find(self.key.project, led_by) is not None
        ):
            return led_by
        if not flight.is_promised:
            # Before the record is written: the flight may look at its waiters.
            flight.is_promised = True
            if not flight.is_recorded:
                await generations.promise(self._record(flight))
        return flight.generation_id

    async def keep_promise(
        self,
        flight: Flight[FlightResult],
        result: FlightResult | None,
        error: Exception | None,
    ) -> None:
        """Write how a promised generation ended that the painter did not record."""
        entry = result.entry if result else None
        if entry is None and error is None:
            entry = await self.painter.found(self.key.project, self.key.hash)
            error = NotFound("There is no such entry.")
        await self.painter.generations.end(
            self._record(flight),
            image=image_of(entry) if entry else None,
            error=None if entry else error,
            is_named=True,
        )

    def _assignment(self, flight: Flight[FlightResult], lease: Lease) -> Assignment:
        return Assignment(key=self.key, flight=flight, lease=lease, permit=self.permit)

    def _record(self, flight: Flight[FlightResult]) -> GenerationRecord:
        return new_record(
            self.key.project,
            self.key.hash,
            flight.generation_id,
            replaces=self.replaces,
        )


@dataclass(frozen=True, slots=True)
class Miss(_Painting):
    """A prompt that had no entry: restore it, or paint it."""

    async def acquire(self, lease: Lease) -> Verdict:
        """Ask for the lease, unless there is nothing to paint."""
        verdict = await lease.acquire()
        # A picture outranks a remembered failure; a manifest whose picture
        # is gone does not, or everyone who asks would pay for it again.
        if not isinstance(verdict, FailedBefore) or is_outage(verdict.failure):
            return verdict
        return await lease.hold() if await self._is_painted() else verdict

    async def lead(self, flight: Flight[FlightResult], lease: Lease) -> FlightResult:
        """Restore the entry from its manifest; paint it where there is none."""
        return await self.painter.restore_or_paint(self._assignment(flight, lease))

    async def _is_painted(self) -> bool:
        ledger = self.painter.ledger
        try:
            manifest = await ledger.read(self.key.project, self.key.hash)
            entry = manifest.entry if manifest else None
            return entry is not None and await ledger.has_image(entry.storage_key)
        except StorageUnavailable:
            return False


@dataclass(frozen=True, slots=True)
class Refresh(_Painting):
    """A prompt whose picture *seen* is to be replaced."""

    seen: PromptEntry
    arrived_at: float

    @property
    def replaces(self) -> str | None:
        """The id of the picture that was seen."""
        return self.seen.image_id

    async def acquire(self, lease: Lease) -> Verdict:
        """Ask for the lease, whatever is known of the prompt but a failure."""
        remembered = await self.painter.index.remembered(self.key.hash)
        return remembered or await lease.hold()

    async def lead(self, flight: Flight[FlightResult], lease: Lease) -> FlightResult:
        """Paint again, unless another refresh has meanwhile.

        It has left another picture than the one that was seen, or has not been
        answered by the time that this one arrived: its picture is taken.
        """
        painter = self.painter
        async with lease.kept(retaking=False):
            manifest = await painter.ledger.read(self.key.project, self.key.hash)
            if manifest is None:
                raise NotFound("The entry was purged.")
            current = manifest.entry
            if (
                current is not None
                and await self._is_new(current)
                # Written once more, in case that one died before it had: the
                # entry would go on with the old picture, refresh by refresh.
                and await painter.committer.restore(current, lease)
            ):
                return FlightResult(current)
        overlaps, generation_id = Overlaps(painter.index), flight.generation_id
        await overlaps.begin(self.key.hash, generation_id, painter.generation_timeout)
        assignment = self._assignment(flight, lease)
        result = await painter.paint(
            replace(assignment, replacing=manifest, is_served=True)
        )
        note = overlaps.stored if flight.waiters else overlaps.answered
        await note(self.key.hash, generation_id)
        return result

    async def _is_new(self, current: PromptEntry) -> bool:
        if current.image_id != self.seen.image_id:
            return True
        return await Overlaps(self.painter.index).covers(current, self.arrived_at)


@dataclass(frozen=True, slots=True)
class LeftJob(_Painting):
    """A job whose leader has died: it is finished, and nothing new is begun."""

    note: JobNote

    @property
    def replaces(self) -> str | None:
        """The id of the picture that its refresh is to replace."""
        return self.note.replaces

    async def acquire(self, lease: Lease) -> Verdict:
        """Ask for the lease, whatever is known of the prompt."""
        return await lease.hold()

    async def lead(self, flight: Flight[FlightResult], lease: Lease) -> FlightResult:
        """Fetch the picture, unless the prompt has another one, or was purged."""
        painter, key = self.painter, self.key
        if await painter.index.job(key.hash) is None:
            raise NotFound("The job was ended by another leader.")
        async with lease.kept(retaking=False):
            manifest = await painter.ledger.read(key.project, key.hash)
            current = manifest.entry if manifest else None
            is_served = current is not None and await painter.ledger.has_image(
                current.storage_key
            )
        if self.replaces is not None and manifest is None:
            await self._abandon(lease)
            raise NotFound("The entry was purged.")
        if current is not None and is_served and current.image_id != self.replaces:
            await self._abandon(lease)
            await painter.committer.publish(current, lease)
            return FlightResult(current)
        assignment = replace(
            self._assignment(flight, lease),
            replacing=manifest,
            is_served=is_served,
            may_begin=False,
        )
        return await painter.paint(assignment)

    async def _abandon(self, lease: Lease) -> None:
        """End the job: its picture can't become the prompt's any more."""
        painter, project = self.painter, self.key.project
        async with self.permit.painting(self.note.generation_id) as paid:
            counted = CountedPermit(paid, painter.asking.statistics, project)
            await painter.asking.models.abandon(self.note.job, counted)
        with suppress(CacheUnavailable):
            await painter.index.drop_job(self.key.hash, lease.token)
