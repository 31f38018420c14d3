"""Look-ups: the entry of a painted prompt, in Redis or else in the ledger."""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from app.errors import CacheUnavailable, StorageUnavailable
from app.prompt_cache.entry.known_entries import KnownEntries
from app.single_flight import SingleFlight

if TYPE_CHECKING:
    from app.generation.usage import Usage
    from app.prompt_cache.entry.entry import PromptEntry
    from app.prompt_cache.entry.ledger import Ledger, Manifest
    from app.prompt_cache.entry.prompt_key import PromptKey
    from app.prompt_cache.flight.result import FlightResult
    from app.prompt_cache.older_entries import OlderEntries
    from app.prompt_cache.statistics import Statistics
    from app.storage.ports.prompt_index import PromptIndex
    from app.telemetry import Metrics

logger = logging.getLogger(__name__)

# A Redis that hangs has cost a second by then, and an answer may take two.
LEDGER_TIMEOUT_SECONDS = 0.8


class LookupOutcome(StrEnum):
    """The end of a look-up; its value is a label of metrics."""

    HIT = "hit"
    MISS = "miss"
    COALESCED = "coalesced"
    RESTORED = "restored"


class Answer(NamedTuple):
    """The picture of a prompt.

    *hits* counts this one; None for a MISS, and where Redis could not count.
    *generation_id* and *usage* (the provider's count of tokens) belong to the MISS.
    *data* are the bytes that a flight has just painted, *record* is the entry's
    value in Redis.
    """

    entry: PromptEntry
    outcome: LookupOutcome
    hits: int | None = None
    generation_id: str | None = None
    data: bytes | None = None
    record: bytes | None = None
    usage: Usage | None = None

    @classmethod
    def of_painting(cls, landed: FlightResult) -> Answer:
        """Return the MISS of the request that was the first to claim *landed*."""
        return cls(
            landed.entry,
            LookupOutcome.MISS,
            generation_id=landed.generation_id,
            data=landed.data,
            usage=landed.usage,
        )


@dataclass(frozen=True, kw_only=True)
class LookUps:
    """The look-ups of one replica, counted in statistics and metrics."""

    index: PromptIndex
    ledger: Ledger
    older_entries: OlderEntries
    statistics: Statistics
    metrics: Metrics
    _known: KnownEntries = field(default_factory=KnownEntries)
    _manifests: SingleFlight[str, Manifest | None] = field(default_factory=SingleFlight)

    async def find(
        self,
        key: PromptKey,
        landed: FlightResult | None = None,
        *,
        has_waited: bool = False,
    ) -> Answer | None:
        """Return the picture of *key* and count the hit; None if it has no entry.

        *landed* is the end of the flight that the caller waited for, if it waited
        (*has_waited*: for a painting). While Redis is unavailable see
        `find_in_ledger`.
        """
        now_ms = time.time_ns() // 1_000_000
        try:
            counted = await self.index.look_up(key.hash, now_ms)
        except CacheUnavailable:
            return await self.find_in_ledger(key)
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

    async def find_in_ledger(self, key: PromptKey) -> Answer:
        """Return the picture that the manifest names, uncounted, while Redis is down.

        Raises `CacheUnavailable` where there is none: nothing may be painted.
        """
        try:
            async with asyncio.timeout(LEDGER_TIMEOUT_SECONDS):
                # Any number of requests cause two reads: none shares one that
                # began before it asked.
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
