"""The limit of unpainted prompts that visitors of scopes look up in a second."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from datetime import timedelta

from cachetools import LRUCache

from app.errors import RateLimited
from app.refusal_hold import RefusalHold

PER_SECOND_OF_REPLICA = 200
# As many of them begin at once; the rest of a burst follows at its pace.
BURST = 20
PER_SECOND_OF_ADDRESS = 20
MAX_ADDRESSES = 10_000


class VisitorLimit:
    """Look-ups in any one second: of one address first, then of the replica.

    Each reads the store. Those of a burst are spread over the second, so that
    requests of customers find the event loop free in between. Refusals are held
    *until* that is set.
    """

    def __init__(
        self,
        *,
        until: asyncio.Event | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clock = clock
        self._hold = RefusalHold(until=until, clock=clock)
        self._replica: deque[float] = deque(maxlen=PER_SECOND_OF_REPLICA)
        self._addresses: LRUCache[str, deque[float]] = LRUCache(MAX_ADDRESSES)
        # When the last look-up begins, at an even pace (GCRA's "arrival time").
        self._last_begins = 0.0

    async def take(self, address: str) -> None:
        """Count a look-up for *address*, and return when it may begin.

        That is within a second. Raises `RateLimited` beyond the limit.
        """
        now = self._clock()
        own = self._addresses.get(address)
        if own is None:
            own = self._addresses[address] = deque(maxlen=PER_SECOND_OF_ADDRESS)
        for taken in (own, self._replica):
            if len(taken) == taken.maxlen and now - taken[0] < 1:
                await self._hold.wait()
                raise RateLimited(
                    "Too many prompts that are not painted are looked up.",
                    retry_after=timedelta(seconds=1),
                )
        own.append(now)
        self._replica.append(now)
        self._last_begins = max(self._last_begins, now) + 1 / PER_SECOND_OF_REPLICA
        await asyncio.sleep(self._last_begins - now - BURST / PER_SECOND_OF_REPLICA)
