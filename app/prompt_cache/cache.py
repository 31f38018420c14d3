"""PromptCache: the loading process, from a prompt to an answer."""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from app.errors import (
    CacheUnavailable,
    PaymentRefused,
    ServiceError,
    StillGenerating,
    StorageUnavailable,
)
from app.prompt_cache.entry.known_entries import KnownEntries
from app.prompt_cache.painting.pictures import PictureGone
from app.prompt_cache.painting.work import Miss
from app.single_flight import SingleFlight

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from app.generation.spending import Permit
    from app.generation.usage import Usage
    from app.prompt_cache.entry.entry import PromptEntry
    from app.prompt_cache.entry.ledger import Ledger, Manifest
    from app.prompt_cache.entry.prompt_key import PromptKey
    from app.prompt_cache.flight.flights import Flights
    from app.prompt_cache.flight.result import FlightResult
    from app.prompt_cache.older_entries import OlderEntries
    from app.prompt_cache.painting.painter import Painter
    from app.prompt_cache.painting.pictures import Pictures
    from app.prompt_cache.restorations import Restorations
    from app.prompt_cache.statistics import Statistics
    from app.storage.ports.object_store import ByteRange
    from app.storage.ports.prompt_index import PromptIndex
    from app.telemetry import Metrics

logger = logging.getLogger(__name__)

# How often a reader starts again when its picture or entry was removed meanwhile.
ROUNDS = 4
# A Redis that hangs has cost a second by then, and two are all there is.
LEDGER_TIMEOUT_SECONDS = 0.8
# Rules that could not be read have cost a time-out of the store by then.
UNREADABLE_TIMEOUT_SECONDS = 1.6


class LookupOutcome(StrEnum):
    """The end of a look-up; its value is a label of metrics."""

    HIT = "hit"
    MISS = "miss"
    COALESCED = "coalesced"
    RESTORED = "restored"


class Answer(NamedTuple):
    """The picture of a prompt.

    *hits* is what `INCR` returned, None for a MISS and where nothing could be
    counted; *generation_id* is set on the MISS alone; *data* are the bytes
    where a flight has just painted them; *record* is what Redis had; *usage* is
    what the provider counted for the MISS, where it tells.
    """

    entry: PromptEntry
    outcome: LookupOutcome
    hits: int | None = None
    generation_id: str | None = None
    data: bytes | None = None
    record: bytes | None = None
    usage: Usage | None = None


@dataclass(frozen=True, kw_only=True)
class PromptCache:
    """The pictures of prompts, across replicas."""

    index: PromptIndex
    ledger: Ledger
    pictures: Pictures
    painter: Painter
    flights: Flights[FlightResult]
    restorations: Restorations
    older_entries: OlderEntries
    statistics: Statistics
    metrics: Metrics
    _known: KnownEntries = field(default_factory=KnownEntries)
    _manifests: SingleFlight[str, Manifest | None] = field(default_factory=SingleFlight)

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

        Where *permit* refuses, the caller can look up and never lead: what is
        not painted raises the refusal. Waits for *wait_seconds* at most and
        then raises `StillGenerating`; the painting goes on. What is not painted is
        led with the key that *readable* returns, of the same hash, whose references
        can be read. With *wants_id* the answer always has the id of a generation,
        also while another request or replica writes about the prompt. May cost
        money. Raises `GenerationError` as the painting
        ended, `PaymentRefused`, `QueueFull`, `CacheUnavailable`,
        `StorageUnavailable`.
        """
        deadline = time.monotonic() + wait_seconds
        landed: FlightResult | None = None
        has_waited = has_counted = False
        for _ in range(ROUNDS):
            # Have we painted it?
            found = await self._look_up(key, landed, has_waited=has_waited)
            if found is not None:
                return found
            if not has_counted and not self.flights.is_flying(key.hash):
                # Those who wait for one flight are one look-up.
                await permit.count_look_up()
                has_counted = True
            asked = time.monotonic()
            refusal = await self._refusal(key, permit)
            if refusal is not None:
                spent_seconds = time.monotonic() - asked
                return await self._find_unless(refusal, spent_seconds, key, permit)
            if readable is not None:
                key = await readable()
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
                return await self._find_in_ledger(key)
            except ServiceError:
                # Nothing was found, whatever became of the painting.
                self.metrics.lookup(LookupOutcome.MISS)
                raise
            has_waited = landed.was_painting if landed else flight.leader_id is not None
            if landed is not None and landed.is_painted and landed.claim():
                self.metrics.lookup(LookupOutcome.MISS)
                return Answer(
                    landed.entry,
                    LookupOutcome.MISS,
                    generation_id=landed.generation_id,
                    data=landed.data,
                    usage=landed.usage,
                )
        raise StillGenerating(
            "The picture changes faster than it can be read.",
            retry_after=timedelta(seconds=1),
        )

    async def find(self, key: PromptKey, permit: Permit) -> Answer | None:
        """Return the picture of a painted prompt, or None; never paints.

        One that only the ledger knows is restored. *permit* may refuse to look
        it up there.
        """
        found = await self._look_up(key)
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
        # Of one that another payer has painted the caller waits for the picture.
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
        """Return what only the ledger knows, else raise *refusal*.

        Where the refusal is that the store does not answer, only what is left
        of two seconds is waited for its manifest.
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
        """Return what only the ledger knows, restored, or None."""
        found = None
        try:
            if await self.restorations.restore(key, permit):
                found = await self._look_up(key)
        except CacheUnavailable:
            found = await self._find_in_ledger(key)
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

    async def _look_up(
        self,
        key: PromptKey,
        landed: FlightResult | None = None,
        *,
        has_waited: bool = False,
    ) -> Answer | None:
        now_ms = time.time_ns() // 1_000_000
        try:
            counted = await self.index.look_up(key.hash, now_ms)
        except CacheUnavailable:
            return await self._find_in_ledger(key)
        if counted is None:
            return None
        entry = self._known.read(key, counted.record)
        if entry is None:
            # Removed, or it would hide the manifest for ever.
            logger.warning("record is unreadable", extra={"prompt_hash": key.hash})
            await self.index.drop(key.hash, counted.record)
            return None
        if self.index.doubts and not await self.older_entries.is_current(
            entry, counted.record
        ):
            return None
        outcome = LookupOutcome.HIT
        if has_waited:
            outcome = LookupOutcome.COALESCED
        elif landed is not None and landed.claim():
            outcome = LookupOutcome.RESTORED
        self.metrics.lookup(outcome)
        if counted.hits is None:
            self.metrics.uncounted_hit()
        else:
            self.statistics.hit(entry, counted.hits, now_ms)
            if outcome is LookupOutcome.COALESCED:
                self.statistics.coalesced(entry)
        data = None
        if landed is not None and landed.entry.image_id == entry.image_id:
            data = landed.data
        return Answer(entry, outcome, counted.hits, None, data, counted.record)

    async def _find_in_ledger(self, key: PromptKey) -> Answer:
        """Serve what is painted while Redis is unavailable; nothing new is paid for."""
        try:
            async with asyncio.timeout(LEDGER_TIMEOUT_SECONDS):
                # A herd is two reads: each one's began after it was asked for.
                manifest = await self._manifests.share_next(
                    key.hash, partial(self.ledger.read, key.project, key.hash)
                )
        except (StorageUnavailable, TimeoutError) as error:
            raise CacheUnavailable(
                "The cache and the store are unavailable."
            ) from error
        if manifest is None or manifest.entry is None:
            raise CacheUnavailable(
                "The cache is unavailable, so nothing can be painted."
            )
        self.metrics.lookup(LookupOutcome.HIT)
        self.metrics.uncounted_hit()
        return Answer(manifest.entry, LookupOutcome.HIT)
