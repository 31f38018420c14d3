"""PromptCache: the loading process, from a prompt to an answer."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from app.errors import (
    CacheUnavailable,
    PaymentRefused,
    ServiceError,
    StillGenerating,
    StorageUnavailable,
)
from app.prompt_cache.look_ups import Answer, LookupOutcome, LookUps
from app.prompt_cache.painting.pictures import PictureGone
from app.prompt_cache.painting.work import Miss

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from app.generation.spending import Permit
    from app.prompt_cache.counted_look_ups import CountedLookUps
    from app.prompt_cache.entry.prompt_key import PromptKey
    from app.prompt_cache.flight.flights import Flights
    from app.prompt_cache.flight.result import FlightResult
    from app.prompt_cache.painting.painter import Painter
    from app.prompt_cache.painting.pictures import Pictures
    from app.prompt_cache.restorations import Restorations
    from app.storage.ports.object_store import ByteRange
    from app.storage.ports.prompt_index import PromptIndex
    from app.telemetry import Metrics

__all__ = ["ROUNDS", "Answer", "LookupOutcome", "PromptCache"]

# How often a reader starts again when its picture or entry was removed meanwhile.
ROUNDS = 4
# Rules that could not be read have cost a time-out of the store by then.
UNREADABLE_TIMEOUT_SECONDS = 1.6


@dataclass(frozen=True, kw_only=True)
class PromptCache:
    """The pictures of prompts, across replicas."""

    index: PromptIndex
    look_ups: LookUps
    counted_look_ups: CountedLookUps
    flights: Flights[FlightResult]
    painter: Painter
    restorations: Restorations
    pictures: Pictures
    metrics: Metrics

    async def get_or_generate(
        self,
        key: PromptKey,
        *,
        permit: Permit,
        wait_seconds: float,
        wants_id: bool = False,
        readable: Callable[[], Awaitable[PromptKey]] | None = None,
    ) -> Answer:
        """Return the picture of a prompt, painting it if it is missing.

        May cost money. Where *permit* refuses to pay, a painted prompt is still
        found, and any other raises the refusal. *readable*, called before a
        painting alone, returns the same key with references that can be read.

        Raises `StillGenerating` after *wait_seconds*, while the painting goes on:
        with *wants_id* it names a generation in every case. Raises `GenerationError`
        as the painting ended, `PaymentRefused`, `QueueFull`, `CacheUnavailable`,
        `StorageUnavailable`.
        """
        deadline = time.monotonic() + wait_seconds
        landed: FlightResult | None = None
        has_waited = has_counted = False
        for _ in range(ROUNDS):
            # Have we painted it?
            found = await self.look_ups.find(key, landed, has_waited=has_waited)
            if found is not None:
                return found
            async with self.counted_look_ups.counted(
                key.hash, permit, before=has_counted
            ) as has_counted:
                asked = time.monotonic()
                refusal = await self._refusal(key, permit)
                spent_seconds = time.monotonic() - asked
                if refusal is None and readable is not None:
                    key = await readable()
            if refusal is not None:
                return await self._find_unless(refusal, spent_seconds, key, permit)
            # Is someone painting it? Did we paint it and forget? Paint it.
            try:
                flight, landed = await self.flights.join(
                    Miss(key, self.painter, permit),
                    wait_seconds=max(0.0, deadline - time.monotonic()),
                    wants_id=wants_id,
                )
            except PaymentRefused as refused:
                # The leader's payer refused; ours may not.
                if refused.payer in permit.payers:
                    self.metrics.lookup(LookupOutcome.MISS)
                    raise
                continue
            except CacheUnavailable:
                # Redis failed meanwhile, or has no memory left for a lease.
                return await self.look_ups.find_in_ledger(key)
            except ServiceError:
                # Nothing was found, whatever became of the painting.
                self.metrics.lookup(LookupOutcome.MISS)
                raise
            has_waited = landed.was_painting if landed else flight.leader_id is not None
            if landed is not None and landed.is_painted and landed.claim():
                self.metrics.lookup(LookupOutcome.MISS)
                return Answer.of_painting(landed)
        raise StillGenerating(
            "The picture changes faster than it can be read.",
            retry_after=timedelta(seconds=1),
        )

    async def find(self, key: PromptKey, permit: Permit) -> Answer | None:
        """Return the picture of a painted prompt, or None; never paints.

        One that only the ledger knows is restored. *permit* may refuse to look
        it up there.
        """
        found = await self.look_ups.find(key)
        if found is not None:
            return found
        await permit.count_look_up()
        return await self._find(key, permit)

    async def _refusal(self, key: PromptKey, permit: Permit) -> ServiceError | None:
        """Return why the prompt is not painted for this caller, else None."""
        refusal = await permit.refusal() or await self.painter.refusal()
        if refusal is not None or self.flights.is_flying(key.hash):
            return refusal
        exhaustion = await permit.exhaustion()
        # While another payer has it painted, the caller waits for that picture.
        if exhaustion is None or await self._is_being_painted(key):
            return None
        return exhaustion

    async def _is_being_painted(self, key: PromptKey) -> bool:
        try:
            return await self.index.holder(key.hash) is not None
        except CacheUnavailable:
            return True

    async def _find_unless(
        self,
        refusal: ServiceError,
        spent_seconds: float,
        key: PromptKey,
        permit: Permit,
    ) -> Answer:
        """Return the picture that only the ledger has, else raise *refusal*.

        Where the store did not answer the question for the refusal, its manifest is
        waited for as long as an answer within two seconds leaves.
        """
        is_outage = isinstance(refusal, StorageUnavailable)
        left_seconds = max(0.1, UNREADABLE_TIMEOUT_SECONDS - spent_seconds)
        try:
            async with asyncio.timeout(left_seconds if is_outage else None):
                found = await self._find(key, permit)
        except TimeoutError:
            self.metrics.lookup(LookupOutcome.MISS)
            found = None
        if found is None:
            raise refusal
        return found

    async def _find(self, key: PromptKey, permit: Permit) -> Answer | None:
        """Return the picture that only the ledger has, its entry restored; or None."""
        found = None
        try:
            if await self.restorations.restore(key, permit):
                found = await self.look_ups.find(key)
        except CacheUnavailable:
            found = await self.look_ups.find_in_ledger(key)
        if found is None:
            self.metrics.lookup(LookupOutcome.MISS)
        return found

    def cached_bytes(self, answer: Answer) -> bytes | None:
        """Return the bytes of an answer if this replica holds them."""
        return answer.data or self.pictures.cached_bytes(answer.entry)

    async def read(self, answer: Answer) -> bytes | None:
        """Return the bytes of an answer that are cached or few, else None."""
        cached = self.cached_bytes(answer)
        if cached is not None:
            return cached
        async with self._noticing_loss(answer):
            return await self.pictures.read(answer.entry)

    async def require(self, answer: Answer) -> None:
        """Return if `read` or `open` would give an answer's picture.

        Raises `PictureGone` like `open`, for answers without the bytes.
        """
        if self.cached_bytes(answer) is None:
            async with self._noticing_loss(answer):
                await self.pictures.require(answer.entry)

    @asynccontextmanager
    async def open(
        self, answer: Answer, byte_range: ByteRange | None = None
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        """Open an answer's picture in the ledger for streaming.

        Raises `PictureGone`: the caller starts again with `get_or_generate`.
        """
        async with (
            self._noticing_loss(answer),
            self.pictures.open(answer.entry, byte_range) as chunks,
        ):
            yield chunks

    @asynccontextmanager
    async def _noticing_loss(self, answer: Answer) -> AsyncIterator[None]:
        try:
            yield
        except PictureGone:
            # Compare and delete: a newer entry, of a refresh, stays.
            if answer.record is not None:
                await self.index.drop(answer.entry.prompt_hash, answer.record)
            raise
