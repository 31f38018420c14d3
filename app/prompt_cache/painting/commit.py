"""The commit: a picture that was paid for becomes everyone's answer.

The order is the promise. The picture is in the ledger before its manifest,
the manifest before the entry, the entry before the completion event, and the lease
goes last.
"""

from __future__ import annotations

import logging
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from app.errors import CacheUnavailable, StorageUnavailable
from app.prompt_cache.flight.result import FlightResult
from app.prompt_cache.painting.contest import Contest, now, offered

if TYPE_CHECKING:
    from collections.abc import Callable

    from app.image import Image
    from app.prompt_cache.entry.confirmed_entries import ConfirmedEntries
    from app.prompt_cache.entry.entry import PromptEntry
    from app.prompt_cache.entry.ledger import Ledger, Manifest
    from app.prompt_cache.flight.leases import Lease
    from app.prompt_cache.painting.pictures import Pictures
    from app.prompt_cache.statistics import Statistics
    from app.storage.ports.prompt_index import PromptIndex
    from app.telemetry import Metrics

logger = logging.getLogger(__name__)

# How long a picture that is paid for is offered to a store that refuses it.
MAX_STORING_TIME = timedelta(minutes=10)


@dataclass(frozen=True, slots=True, kw_only=True)
class Committer:
    """Writes what leaders painted, or found in the ledger, under their lease."""

    index: PromptIndex
    ledger: Ledger
    pictures: Pictures
    statistics: Statistics
    metrics: Metrics
    confirmed: ConfirmedEntries
    max_storing_time: timedelta = MAX_STORING_TIME

    def deadline(self) -> float:
        """Return the deadline for storing a picture that is paid for now."""
        return now() + self.max_storing_time.total_seconds()

    async def keep(
        self,
        entry: PromptEntry,
        image: Image,
        deadline: float,
        refused: Callable[[], None],
    ) -> None:
        """Store the picture of *entry*, trying again while the store refuses it.

        *refused* is called after each time.
        """
        try:
            await offered(
                lambda: self.ledger.keep_image(entry, image), deadline, refused
            )
        except StorageUnavailable:
            # A write of ours may still get through.
            self.orphaned(entry)
            logger.exception("a picture that was paid for is lost")
            raise

    async def settle(
        self,
        entry: PromptEntry,
        lease: Lease,
        replacing: Manifest | None,
        *,
        deadline: float,
        refused: Callable[[], None],
        is_served: bool = False,
    ) -> PromptEntry:
        """Write the manifest of *entry*, whose picture is kept; return who won.

        *replacing* is the manifest that was read before the painting began;
        *is_served* says that its entry still answers requests.
        """
        contest = Contest(
            self.ledger,
            self.index,
            entry,
            lease,
            replacing,
            deadline,
            is_served=is_served,
            discard=self.discard,
            orphaned=self.orphaned,
            refused=refused,
        )
        return await contest.settled()

    async def conclude(
        self,
        entry: PromptEntry,
        image: Image,
        lease: Lease,
        *,
        winner: PromptEntry,
        replaced: PromptEntry | None,
    ) -> FlightResult:
        """Write the entry of the *winner*, and remove the picture that lost."""
        if winner.image_id != entry.image_id:
            self.metrics.refused_picture()
            logger.warning("late picture refused", extra=_named(entry))
            await self.discard(entry)
            await self.publish(winner, lease)
            return FlightResult(winner, is_adopted=True)
        self.pictures.keep(entry, image.data)
        await self.publish(entry, lease, replaced)
        if replaced is not None:
            # Its entry went before: no reader finds nothing, and no hot tier
            # of another replica goes on with it.
            await self.discard_replaced(replaced)
        return FlightResult(entry, image.data, entry.generation_id)

    async def restore(self, entry: PromptEntry | None, lease: Lease) -> bool:
        """Write the entry of a manifest whose picture is there; say if it is."""
        if entry is None or not await self.ledger.has_image(entry.storage_key):
            return False
        await self.publish(entry, lease)
        return True

    async def publish(
        self, entry: PromptEntry, lease: Lease, replaced: PromptEntry | None = None
    ) -> bool:
        """Write the entry, notify the followers, release; return if the entry is there.

        The picture is committed already: where Redis is unavailable, or another
        replica holds the lease by now, the next reader writes the entry.
        """
        if replaced is None:
            self.statistics.added(entry)
        else:
            self.statistics.replaced(replaced, entry)
        await self.statistics.apply_if_possible()
        doubts = self.index.doubts
        try:
            if await self.index.commit(
                entry.prompt_hash, lease.token, entry.to_record()
            ):
                self.confirmed.note(entry, doubts)
                return True
            logger.warning("entry left to another leader", extra=_named(entry))
            await self._take_off_the_list(entry)
        except CacheUnavailable:
            logger.warning("entry left to be restored", extra=_named(entry))
        return False

    async def _take_off_the_list(self, entry: PromptEntry) -> None:
        """Undo what was noted of an entry that was purged before it was written.

        1. An entry is noted in the list. 2. Its lease runs out, and a purge
        answers. 3. The entry is refused, and would be in the list for ever.
        """
        (seen,) = await self.index.peek([entry.prompt_hash])
        if seen is None:
            self.statistics.removed(entry.project, entry.prompt_hash, entry.size)
            await self.statistics.apply_if_possible()

    async def discard(self, entry: PromptEntry) -> None:
        """Remove a picture that no manifest names."""
        try:
            await self.ledger.forget_image(entry.storage_key)
        except StorageUnavailable:
            # Nothing points at it: it costs space and no more.
            self.orphaned(entry)

    async def discard_replaced(self, replaced: PromptEntry | None) -> None:
        """Remove a picture that was replaced, or whose prompt was purged.

        It is written down: what fails here is finished by some replica.
        """
        if replaced is not None:
            self.pictures.forget(replaced)
            with suppress(StorageUnavailable):
                await self.ledger.forget_replaced(replaced)

    def orphaned(self, entry: PromptEntry) -> None:
        """Count and log a picture that stays, though nothing may point at it."""
        self.metrics.orphan()
        logger.warning("picture is orphaned", extra={"image_id": entry.image_id})


def _named(entry: PromptEntry) -> dict[str, str]:
    return {"prompt_hash": entry.prompt_hash}
