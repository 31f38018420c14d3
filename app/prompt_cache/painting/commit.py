"""The commit: a picture that was paid for becomes everyone's answer.

The order is the promise. The picture is in the ledger before its manifest,
the manifest before the entry, the entry before anyone is told, and the lease
goes last.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, TypeVar

from app.errors import (
    CacheUnavailable,
    StillGenerating,
    StorageUnavailable,
    Unavailable,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from app.image import Image
    from app.prompt_cache.entry.entry import PromptEntry
    from app.prompt_cache.entry.ledger import Ledger, Manifest
    from app.prompt_cache.flight.leases import Lease
    from app.prompt_cache.painting.pictures import Pictures
    from app.prompt_cache.statistics import Statistics
    from app.storage.ports.prompt_index import PromptIndex
    from app.telemetry import Metrics

logger = logging.getLogger(__name__)

T = TypeVar("T")

# How long a picture that was paid for is kept and offered to a store that is
# away, and how long a late leader waits for its turn to write.
STORING_AT_MOST = timedelta(seconds=60)
STORE_AGAIN_SECONDS = 0.25


@dataclass(slots=True)
class FlightResult:
    """What a flight led to; *data* and *generation_id* only where it painted.

    The first waiter to `claim` a painting is its MISS; for the others it is
    another's, and a hit. *is_adopted* says that another leader's picture won.
    """

    entry: PromptEntry
    data: bytes | None = None
    generation_id: str | None = None
    is_adopted: bool = False
    is_claimed: bool = False

    @property
    def is_painted(self) -> bool:
        """Whether this flight painted the picture, rather than found it."""
        return self.generation_id is not None

    @property
    def was_painting(self) -> bool:
        """Whether its waiters waited for a painting, by whomever."""
        return self.is_painted or self.is_adopted

    def claim(self) -> bool:
        """Say whether the caller is the first to ask."""
        is_first, self.is_claimed = not self.is_claimed, True
        return is_first


@dataclass(frozen=True, slots=True, kw_only=True)
class Committer:
    """Writes what leaders painted, or found in the ledger, under their lease."""

    index: PromptIndex
    ledger: Ledger
    pictures: Pictures
    statistics: Statistics
    metrics: Metrics
    storing_at_most: timedelta = STORING_AT_MOST

    def deadline(self) -> float:
        """Return until when a picture that is paid for now may be stored."""
        return _now() + self.storing_at_most.total_seconds()

    async def keep(self, entry: PromptEntry, image: Image, deadline: float) -> None:
        """Store the picture of *entry*, again and again while the store is away."""
        try:
            await _offered(lambda: self.ledger.keep_image(entry, image), deadline)
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
        is_served: bool = False,
    ) -> PromptEntry:
        """Write the manifest of *entry*, whose picture is kept; return who won.

        *replacing* is the manifest that was read before the painting began;
        *is_served* says that its entry still answers requests.
        """
        contest = _Contest(self, entry, lease, replacing, deadline, is_served=is_served)
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
        if winner.generation_id != entry.generation_id:
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
            self.pictures.forget(replaced)
            await self.discard(replaced)
        return FlightResult(entry, image.data, entry.generation_id)

    async def restore(self, entry: PromptEntry | None, lease: Lease) -> bool:
        """Write the entry of a manifest whose picture is there; say if it is."""
        if entry is None or not await self.ledger.has_image(entry):
            return False
        await self.publish(entry, lease)
        return True

    async def publish(
        self, entry: PromptEntry, lease: Lease, replaced: PromptEntry | None = None
    ) -> bool:
        """Write the entry, tell the followers, release the lease; say if it is there.

        The picture is committed already: a cache that is away, or a lease that
        another one holds by now, leaves the entry to the next reader.
        """
        if replaced is None:
            self.statistics.added(entry)
        else:
            self.statistics.replaced(replaced, entry)
        await self.statistics.apply_if_possible()
        try:
            if await self.index.commit(
                entry.prompt_hash, lease.token, entry.to_record()
            ):
                return True
            logger.warning("entry left to another leader", extra=_named(entry))
        except CacheUnavailable:
            logger.warning("entry left to be restored", extra=_named(entry))
        return False

    async def discard(self, entry: PromptEntry) -> None:
        """Remove a picture that no manifest names."""
        try:
            await self.ledger.forget_image(entry.storage_key)
        except StorageUnavailable:
            # Nothing points at it: it costs space and harms nobody.
            self.orphaned(entry)

    def orphaned(self, entry: PromptEntry) -> None:
        """Tell of a picture that stays, and that nothing may point at."""
        self.metrics.orphan()
        logger.warning("picture is orphaned", extra={"image_id": entry.image_id})


@dataclass(slots=True)
class _Contest:
    """One leader's attempt to have its manifest become the prompt's."""

    committer: Committer
    entry: PromptEntry
    lease: Lease
    replacing: Manifest | None
    deadline: float
    is_served: bool
    # Whether a manifest of ours may have got through.
    has_written: bool = False

    async def settled(self) -> PromptEntry:
        """Return who has won; raises `Unavailable` where nobody could find out."""
        try:
            return await _offered(self._settle, self.deadline)
        except Unavailable:
            if await self._has_won():
                return self.entry
            logger.exception("a picture that was paid for is lost")
            raise

    async def _settle(self) -> PromptEntry:
        await self._regain()
        if self.is_served:
            await self._withdraw()
        self.has_written = True
        return await self.committer.ledger.commit(self.entry, self.replacing)

    async def _regain(self) -> None:
        """Hold the lease again before anything is written under it.

        1. A leads, pays and stalls past its lease. 2. B leads and commits, or
        purges. 3. A wakes: it may write only when it holds the lease again,
        and the manifest then tells whether B's picture won. From here on
        nobody renews: if A stalls once more, and B purges what A has created,
        then A's entry is refused.
        """
        if not await self.lease.regain(self.deadline - _now()):
            raise StillGenerating("Another replica is painting this picture.")

    async def _withdraw(self) -> None:
        """Take away the entry that is about to be replaced; its hits stay.

        1. A refresh replaces the manifest. 2. Redis goes away. 3. It comes back
        with the old entry, and nobody restores what is there: some would see
        the old picture for ever, others the new one. So the entry goes first;
        for as long as Redis is away, nothing is replaced.
        """
        if not await self.committer.index.withdraw(
            self.entry.prompt_hash, self.lease.token
        ):
            raise CacheUnavailable("The lease was lost.")

    async def _has_won(self) -> bool:
        """Say whether our manifest is there; remove our picture where it can't come.

        1. The manifest is written, and the reply lost. 2. Redis goes away, so
        that nothing can be tried again. 3. The picture would be removed that
        the manifest names. So the manifest is read first; while one of ours may
        still be on its way, and where it can't be read, the picture stays.
        """
        committer, entry = self.committer, self.entry
        if not self.has_written:
            await committer.discard(entry)
            return False
        try:
            found = await committer.ledger.read(entry.project, entry.prompt_hash)
        except StorageUnavailable:
            committer.orphaned(entry)
            return False
        named = found.entry if found else None
        if named is not None and named.generation_id == entry.generation_id:
            return True
        if found is None or (self.replacing and found.etag == self.replacing.etag):
            committer.orphaned(entry)
        else:
            await committer.discard(entry)
        return False


async def _offered(store: Callable[[], Awaitable[T]], deadline: float) -> T:
    """Try what writes to the ledger until it is done, or the time is up."""
    while True:
        try:
            # A moment later: whoever waits for a lease until then says so itself.
            async with asyncio.timeout_at(deadline + STORE_AGAIN_SECONDS):
                return await store()
        except (StorageUnavailable, CacheUnavailable):
            if _now() + STORE_AGAIN_SECONDS > deadline:
                raise
        except TimeoutError as error:
            raise StorageUnavailable("The object store is too slow.") from error
        await asyncio.sleep(STORE_AGAIN_SECONDS)


def _now() -> float:
    return asyncio.get_running_loop().time()


def _named(entry: PromptEntry) -> dict[str, str]:
    return {"prompt_hash": entry.prompt_hash}
