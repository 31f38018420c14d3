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

from app.errors import CacheUnavailable, StillGenerating, StorageUnavailable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from app.image import Image
    from app.prompt_cache.entry.entry import PromptEntry
    from app.prompt_cache.entry.ledger import Ledger, Manifest
    from app.prompt_cache.flight.leases import Lease
    from app.prompt_cache.painting.pictures import Pictures
    from app.prompt_cache.statistics import Statistics
    from app.storage.ports.prompt_index import CompletionEvents, PromptIndex

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
    completions: CompletionEvents
    ledger: Ledger
    pictures: Pictures
    statistics: Statistics
    storing_at_most: timedelta = STORING_AT_MOST

    async def keep(self, entry: PromptEntry, image: Image) -> None:
        """Store the picture of *entry*, again and again while the store is away."""
        await self._offered(lambda: self.ledger.keep_image(entry, image))

    async def commit(
        self,
        entry: PromptEntry,
        image: Image,
        lease: Lease,
        replacing: Manifest | None,
        *,
        is_served: bool = False,
    ) -> FlightResult:
        """Have *entry*, whose picture is kept, win or adopt what has won.

        *replacing* is the manifest that was read before the painting began;
        *is_served* says that its entry still answers requests.
        """

        async def settle() -> PromptEntry:
            await self._regain(entry, lease)
            if is_served:
                await self._withdraw(entry.prompt_hash)
            return await self.ledger.commit(entry, replacing)

        try:
            winner = await self._offered(settle)
        except CacheUnavailable:
            await self._discard(entry)
            raise
        if winner.generation_id != entry.generation_id:
            logger.warning("late picture refused", extra=_named(entry))
            await self._discard(entry)
            await self.publish(winner, lease)
            return FlightResult(winner, is_adopted=True)
        self.pictures.keep(entry, image.data)
        replaced = replacing.entry if replacing else None
        await self.publish(entry, lease, replaced)
        if replaced is not None:
            # Its entry went before: no reader finds nothing, and no hot tier
            # of another replica goes on with it.
            self.pictures.forget(replaced)
            await self._discard(replaced)
        return FlightResult(entry, image.data, entry.generation_id)

    async def _regain(self, entry: PromptEntry, lease: Lease) -> None:
        """Hold the lease again before anything is written under it.

        1. A leads, pays and stalls past its lease. 2. B leads and commits, or
        purges. 3. A wakes: it may write only when it holds the lease again,
        and the manifest then tells whether B's picture won. From here on
        nobody renews: if A stalls once more, and B purges what A has created,
        then A's entry is refused.
        """
        seconds = self.storing_at_most.total_seconds()
        if not await lease.regain(self.completions, seconds):
            await self._discard(entry)
            raise StillGenerating("Another replica is painting this picture.")

    async def _withdraw(self, prompt_hash: str) -> None:
        """Take away the entry that is about to be replaced; its hits stay.

        1. A refresh replaces the manifest. 2. Redis goes away. 3. It comes back
        with the old entry, and nobody restores what is there: some would see
        the old picture for ever, others the new one. So the entry goes first;
        for as long as Redis is away, nothing is replaced.
        """
        (seen,) = await self.index.peek([prompt_hash])
        if seen is not None:
            await self.index.drop(prompt_hash, seen.record)

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

    async def _discard(self, entry: PromptEntry) -> None:
        try:
            await self.ledger.forget_image(entry.storage_key)
        except StorageUnavailable:
            # Nothing points at it: it costs space and harms nobody.
            logger.warning("picture is orphaned", extra={"image_id": entry.image_id})

    async def _offered(self, store: Callable[[], Awaitable[T]]) -> T:
        """Try what writes to the ledger until it is done, within the bound."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self.storing_at_most.total_seconds()
        while True:
            try:
                return await store()
            except (StorageUnavailable, CacheUnavailable):
                if loop.time() > deadline:
                    logger.exception("a picture that was paid for is lost")
                    raise
                await asyncio.sleep(STORE_AGAIN_SECONDS)


def _named(entry: PromptEntry) -> dict[str, str]:
    return {"prompt_hash": entry.prompt_hash}
