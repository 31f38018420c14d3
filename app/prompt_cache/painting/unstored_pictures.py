"""Unstored pictures: paid for, and not taken by the object store yet.

They are offered to it again and again under their lease. Callers that ask for
one meanwhile get 503 `storage_unavailable`, on every replica, and pay nothing.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from app.background import ended
from app.errors import CacheUnavailable, StorageUnavailable
from app.prompt_cache.flight.remembered_failures import RememberedFailure
from app.prompt_cache.painting.contest import now

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from app.prompt_cache.entry.entry import PromptEntry
    from app.prompt_cache.flight.flight import Flight
    from app.prompt_cache.flight.leases import Lease
    from app.prompt_cache.flight.result import FlightResult
    from app.storage.ports.prompt_index import PromptIndex

logger = logging.getLogger(__name__)

MAX_BYTES = 64 * 1024 * 1024
# How long callers wait: most stores that refuse a picture take it by then.
PATIENCE_SECONDS = 3.0
_NOTED_EVERY_SECONDS = 0.5


@dataclass(slots=True)
class UnstoredPictures:
    """The pictures of this replica that wait for the store, *max_bytes* of them."""

    index: PromptIndex
    max_bytes: int = MAX_BYTES
    patience_seconds: float = PATIENCE_SECONDS
    _held_bytes: int = 0

    @asynccontextmanager
    async def holding(
        self, entry: PromptEntry, lease: Lease, flight: Flight[FlightResult]
    ) -> AsyncIterator[UnstoredPicture]:
        """Hold the picture of *entry* as long as its context stores it."""
        picture = UnstoredPicture(self, entry, lease, flight, now())
        try:
            yield picture
        finally:
            await picture.stored()

    def take(self, size: int) -> None:
        """Make room for a picture; raises `StorageUnavailable` where there is none."""
        if self._held_bytes + size > self.max_bytes:
            raise StorageUnavailable("Too many pictures wait for the object store.")
        self._held_bytes += size

    def give_back(self, size: int) -> None:
        """Free the room of a picture."""
        self._held_bytes -= size


@dataclass(slots=True)
class UnstoredPicture:
    """One picture that is being stored; it has room once the store is refusing it."""

    pictures: UnstoredPictures
    entry: PromptEntry
    lease: Lease
    flight: Flight[FlightResult]
    began_at: float
    _noting: asyncio.Task[None] | None = field(default=None, init=False)

    def refused(self) -> None:
        """Note that the store has refused it once more.

        Raises `StorageUnavailable` where no room is left: it is lost then.
        """
        if self._noting or now() - self.began_at < self.pictures.patience_seconds:
            return
        self.pictures.take(self.entry.size)
        self.flight.refuse(_refusal())
        logger.warning(
            "picture waits for the store", extra={"prompt_hash": self.entry.prompt_hash}
        )
        self._noting = asyncio.create_task(self._keep_noting(), name="unstored-picture")

    async def stored(self) -> None:
        """Free its room, and answer with it from now on."""
        if self._noting is not None:
            await ended(self._noting)
            self.pictures.give_back(self.entry.size)
            self.flight.refusal = None

    async def _keep_noting(self) -> None:
        memory = RememberedFailure.of(self.entry.project, _refusal())
        while True:
            with suppress(CacheUnavailable):
                await self.pictures.index.note(
                    self.entry.prompt_hash, self.lease.token, memory.note, memory.lasts
                )
            await asyncio.sleep(_NOTED_EVERY_SECONDS)


def _refusal() -> StorageUnavailable:
    return StorageUnavailable(
        "The picture is painted, and the object store does not take it yet."
    )
