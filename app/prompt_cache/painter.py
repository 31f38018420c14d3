"""What a leader does: look in the ledger, paint, commit, or remember a failure.

The order is the promise. The picture is in the ledger before its manifest,
the manifest before the entry, the entry before anyone is told, and the lease
goes last.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, TypeVar
from uuid import uuid4

from app.errors import (
    CacheUnavailable,
    GenerationError,
    StillGenerating,
    StorageUnavailable,
)
from app.generation.painting import Progress
from app.generation.provider import PaintRequest
from app.prompt_cache.entry import PromptEntry
from app.prompt_cache.failures import remember_for, to_note
from app.prompt_cache.generations import GenerationRecord

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from app.generation.models import Models, Painting
    from app.image import Image
    from app.prompt_cache.generations import Generations
    from app.prompt_cache.lease import Lease
    from app.prompt_cache.ledger import Ledger, Manifest
    from app.prompt_cache.pictures import Pictures
    from app.prompt_cache.prompt_key import PromptKey
    from app.prompt_cache.single_flight import Flight
    from app.prompt_cache.statistics import Statistics
    from app.storage.prompt_index import Landings, PromptIndex
    from app.storage.storage_key import Project

    References = Callable[[Project, tuple[str, ...]], Awaitable[tuple[Image, ...]]]

logger = logging.getLogger(__name__)

T = TypeVar("T")

# How long a picture that was paid for is kept and offered to a store that is
# away, and how long a late leader waits for its turn to write.
STORING_AT_MOST = timedelta(seconds=60)
STORE_AGAIN_SECONDS = 0.25


@dataclass(slots=True)
class Landed:
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
class Painter:
    """The leader's work, for one prompt at a time, under its lease."""

    index: PromptIndex
    landings: Landings
    ledger: Ledger
    models: Models
    pictures: Pictures
    generations: Generations
    statistics: Statistics
    references: References
    generation_timeout: timedelta
    storing_at_most: timedelta = STORING_AT_MOST

    async def restore_or_paint(
        self, key: PromptKey, flight: Flight[Landed], lease: Lease
    ) -> Landed:
        """Did we paint it and forget? Else paint it."""
        try:
            manifest = await self.ledger.read(key.project, key.hash)
            if manifest is not None and await self.restore(manifest.entry, lease):
                return Landed(manifest.entry)  # type: ignore[arg-type]
        except StorageUnavailable as outage:
            # Else whoever follows would lead, and run into the same time-out
            # while those who wait have waited for ours.
            await self._remember(key, lease, outage)
            raise
        # A manifest whose picture is gone does not count: it is replaced.
        return await self.paint(key, flight, lease, manifest)

    async def restore(self, entry: PromptEntry | None, lease: Lease) -> bool:
        """Write the entry of a manifest whose picture is there; say if it is."""
        if entry is None or not await self.ledger.has_image(entry):
            return False
        await self._publish(entry, lease)
        return True

    async def paint(
        self,
        key: PromptKey,
        flight: Flight[Landed],
        lease: Lease,
        replacing: Manifest | None,
    ) -> Landed:
        """Ask the provider, commit what it gave, or remember why it did not."""
        progress = Progress()
        record = GenerationRecord(
            generation_id=flight.generation_id,
            project=str(key.project),
            prompt_hash=key.hash,
            created_at=datetime.now(UTC),
        )
        try:
            async with self.generations.recorded(record, progress):
                async with lease.kept():
                    painting = await self._ask(key, lease, progress)
                    entry = _entry_of(key, painting, flight.generation_id)
                    await self._offered(
                        lambda: self.ledger.keep_image(entry, painting.image)
                    )
                landed = await self._commit(entry, painting.image, lease, replacing)
        except BaseException as failure:
            kind = type(failure).__name__
            await self.generations.end(record, error={"kind": kind})
            raise
        await self.generations.end(record, entry=landed.entry)
        return landed

    async def _ask(self, key: PromptKey, lease: Lease, progress: Progress) -> Painting:
        project, wanted = str(key.project), key.parameters
        deadline = (
            asyncio.get_running_loop().time() + self.generation_timeout.total_seconds()
        )
        request = PaintRequest(
            prompt=wanted.prompt,
            aspect_ratio=wanted.aspect_ratio,
            width=wanted.width,
            height=wanted.height,
            seed=wanted.seed,
            variant=wanted.variant,
            references=await self.references(key.project, wanted.references),
        )
        try:
            painting = await self.models.paint(
                wanted.model, request, deadline=deadline, progress=progress
            )
        except GenerationError as failure:
            self.statistics.failed(project)
            await self._remember(key, lease, failure)
            raise
        finally:
            self.statistics.spent(project, progress.spent)
        self.statistics.generated(project, painting.seconds)
        return painting

    async def _remember(
        self,
        key: PromptKey,
        lease: Lease,
        failure: GenerationError | StorageUnavailable,
    ) -> None:
        try:
            await self.index.fail(
                key.hash,
                lease.token,
                to_note(key.project, failure),
                remember_for(failure),
            )
        except CacheUnavailable:
            logger.warning("failure is not remembered")

    async def _commit(
        self,
        entry: PromptEntry,
        image: Image,
        lease: Lease,
        replacing: Manifest | None,
    ) -> Landed:
        winner = await self._offered(lambda: self._settle(entry, lease, replacing))
        if winner.generation_id != entry.generation_id:
            logger.warning("late picture refused", extra=_named(entry))
            await self._discard(entry)
            await self._publish(winner, lease)
            return Landed(winner, is_adopted=True)
        self.pictures.keep(entry, image.data)
        replaced = replacing.entry if replacing else None
        if await self._publish(entry, lease, replaced) and replaced is not None:
            # Not before the entry has left it: a reader must not find nothing,
            # nor another replica's hot tier go on with what the ledger lost.
            self.pictures.forget(replaced)
            await self._discard(replaced)
        return Landed(entry, image.data, entry.generation_id)

    async def _settle(
        self, entry: PromptEntry, lease: Lease, replacing: Manifest | None
    ) -> PromptEntry:
        """Write the manifest under the lease; return the entry that won.

        1. A leads, pays and stalls past its lease. 2. B leads and commits, or
        purges. 3. A wakes: it may write only when it holds the lease again,
        and the manifest then tells whether B's picture won. From here on
        nobody renews: if A stalls once more, and B purges what A has created,
        then A's entry is refused.
        """
        seconds = self.storing_at_most.total_seconds()
        if not await lease.regain(self.landings, seconds):
            await self._discard(entry)
            raise StillGenerating("Another replica is painting this picture.")
        return await self.ledger.commit(entry, replacing)

    async def _publish(
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
        """Try what writes to the ledger until it is taken, within the bound."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self.storing_at_most.total_seconds()
        while True:
            try:
                return await store()
            except StorageUnavailable:
                if loop.time() > deadline:
                    logger.exception("a picture that was paid for is lost")
                    raise
                await asyncio.sleep(STORE_AGAIN_SECONDS)


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
        is_placeholder=painting.is_placeholder,
        # HTTP dates have whole seconds; the milliseconds order lists.
        created_at=_to_milliseconds(datetime.now(UTC)),
        generation_id=generation_id,
    )


def _to_milliseconds(moment: datetime) -> datetime:
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)


def _named(entry: PromptEntry) -> dict[str, str]:
    return {"prompt_hash": entry.prompt_hash}
