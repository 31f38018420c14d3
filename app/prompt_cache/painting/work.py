"""What flights are for: a prompt that was missing, or one to be painted again."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from app.errors import CacheUnavailable, NotFound, StorageUnavailable
from app.prompt_cache.entry.entry import PromptEntry
from app.prompt_cache.flight.remembered_failures import is_outage
from app.prompt_cache.flight.result import FlightResult
from app.prompt_cache.generations.record import new_record
from app.prompt_cache.painting.painter import image_of
from app.storage.ports.prompt_index import FailedBefore

if TYPE_CHECKING:
    from app.generation.spending import Permit
    from app.prompt_cache.entry.prompt_key import PromptKey
    from app.prompt_cache.flight.flight import Flight
    from app.prompt_cache.flight.leases import Lease
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

    async def promise(self, flight: Flight[FlightResult]) -> None:
        """Make the flight's generation one that can be asked about."""
        await self.painter.generations.promise(
            self.key.project, self.key.hash, flight.generation_id
        )

    async def keep_promise(
        self, flight: Flight[FlightResult], error: Exception | None
    ) -> None:
        """Say how a promised generation ended that this flight did not lead."""
        entry = None
        with suppress(CacheUnavailable):
            if error is None:
                (seen,) = await self.painter.index.peek([self.key.hash])
                entry = PromptEntry.of_key(self.key, seen.record) if seen else None
        record = new_record(self.key.project, self.key.hash, flight.generation_id)
        await self.painter.generations.end(
            record, image=image_of(entry) if entry else None, error=error
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
        """Did we paint it and forget? Else paint it."""
        return await self.painter.restore_or_paint(self.key, flight, lease, self.permit)

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

    async def acquire(self, lease: Lease) -> Verdict:
        """Ask for the lease, whatever is known of the prompt but a failure."""
        remembered = await self.painter.index.remembered(self.key.hash)
        return remembered or await lease.hold()

    async def lead(self, flight: Flight[FlightResult], lease: Lease) -> FlightResult:
        """Paint again, unless another one has meanwhile.

        Whoever gets the lease after another's refresh finds another picture
        than it was asked to replace, and takes it.
        """
        painter = self.painter
        manifest = await painter.ledger.read(self.key.project, self.key.hash)
        if manifest is None:
            raise NotFound("The entry was purged.")
        current = manifest.entry
        if (
            current is not None
            and current.image_id != self.seen.image_id
            # Written once more, in case that one died before it had: the
            # entry would go on with the old picture, refresh by refresh.
            and await painter.committer.restore(current, lease)
        ):
            return FlightResult(current)
        return await painter.paint(
            self.key, flight, lease, manifest, self.permit, is_served=True
        )
