"""The contest for a prompt's manifest: the first wins, also if its reply is lost."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from app.errors import (
    CacheUnavailable,
    NotFound,
    StillGenerating,
    StorageUnavailable,
    Unavailable,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from app.prompt_cache.entry.entry import PromptEntry
    from app.prompt_cache.entry.ledger import Ledger, Manifest
    from app.prompt_cache.flight.leases import Lease
    from app.storage.ports.prompt_index import PromptIndex

logger = logging.getLogger(__name__)

T = TypeVar("T")

STORE_AGAIN_SECONDS = 0.25
# How long a late leader waits for its turn to write.
TURN_SECONDS = 60.0


@dataclass(slots=True)
class Contest:
    """One leader's attempt to have its manifest become the prompt's."""

    ledger: Ledger
    index: PromptIndex
    entry: PromptEntry
    lease: Lease
    replacing: Manifest | None
    deadline: float
    is_served: bool
    discard: Callable[[PromptEntry], Awaitable[None]]
    orphaned: Callable[[PromptEntry], None]
    refused: Callable[[], None]
    # Whether a manifest of ours may have got through.
    has_written: bool = False

    async def settled(self) -> PromptEntry:
        """Return the winning entry; raises `Unavailable` where that is unknown."""
        try:
            return await offered(self._settle, self.deadline, self.refused)
        except NotFound:
            # 1. A refresh paints. 2. A purge answers. 3. The refresh is late.
            await self.discard(self.entry)
            if self.replacing is not None and self.replacing.entry is not None:
                # It is written down; what is unavailable now is finished later.
                with suppress(StorageUnavailable):
                    await self.ledger.forget_replaced(self.replacing.entry)
            raise
        except Unavailable:
            if await self._has_won():
                return self.entry
            logger.exception("a picture that was paid for is lost")
            raise

    async def _settle(self) -> PromptEntry:
        await self._regain()
        if self.is_served:
            await self._withdraw()
        replaced = self.replacing
        if replaced is not None and replaced.entry is not None:
            await self.ledger.note_replaced(replaced.entry)
        self.has_written = True
        return await self.ledger.commit(
            self.entry, replaced, only_replaces=self.is_served
        )

    async def _regain(self) -> None:
        """Hold the lease again before anything is written under it.

        1. A leads, pays and stalls past its lease. 2. B leads and commits, or
        purges. 3. A wakes: it may write only when it holds the lease again,
        and the manifest then tells whether B's picture won. From here on a
        vacant lease is not taken again by its renewal: if A stalls once more,
        and B purges what A has created, then A's entry is refused.
        """
        if not await self.lease.regain(min(self.deadline - now(), TURN_SECONDS)):
            raise StillGenerating("Another replica is painting this picture.")

    async def _withdraw(self) -> None:
        """Remove the entry that is about to be replaced; its hits stay.

        1. A refresh replaces the manifest. 2. Redis fails. 3. It comes back
        with the old entry, and what is there is not restored: some would see
        the old picture for ever, others the new one. So the entry goes first;
        for as long as Redis is unavailable, nothing is replaced.
        """
        if not await self.index.withdraw(self.entry.prompt_hash, self.lease.token):
            raise CacheUnavailable("The lease was lost.")

    async def _has_won(self) -> bool:
        """Return whether our manifest is there; remove our picture where it can't come.

        1. The manifest is written, and the reply lost. 2. Redis fails, so
        that nothing can be tried again. 3. The picture would be removed that
        the manifest names. So the manifest is read first; while one of ours may
        still be on its way, and where it can't be read, the picture stays.
        """
        entry = self.entry
        if not self.has_written:
            await self.discard(entry)
            return False
        try:
            found = await self.ledger.read(entry.project, entry.prompt_hash)
        except StorageUnavailable:
            self.orphaned(entry)
            return False
        named = found.entry if found else None
        if named is not None and named.image_id == entry.image_id:
            return True
        if found is None or (self.replacing and found.etag == self.replacing.etag):
            self.orphaned(entry)
        else:
            await self.discard(entry)
        return False


async def offered(
    store: Callable[[], Awaitable[T]], deadline: float, refused: Callable[[], None]
) -> T:
    """Try what writes to the ledger until it is done, or the time is up.

    *refused* is called after each outage, and ends the tries where it raises.
    """
    while True:
        try:
            # A moment later: a wait for a lease until then raises its own error.
            async with asyncio.timeout_at(deadline + STORE_AGAIN_SECONDS):
                return await store()
        except (StorageUnavailable, CacheUnavailable):
            if now() + STORE_AGAIN_SECONDS > deadline:
                raise
            refused()
        except TimeoutError as error:
            raise StorageUnavailable("The object store is too slow.") from error
        await asyncio.sleep(STORE_AGAIN_SECONDS)


def now() -> float:
    """Return the time that deadlines are measured by."""
    return asyncio.get_running_loop().time()
