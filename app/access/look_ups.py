"""How many look-ups strangers may cause: each reads the ledger."""

from __future__ import annotations

import time
from collections import deque
from datetime import timedelta
from typing import TYPE_CHECKING

from cachetools import LRUCache

from app.errors import RateLimited

if TYPE_CHECKING:
    from collections.abc import Callable

A_SECOND_PER_REPLICA = 50
# Below that of the replica, so that one address leaves something to others.
A_SECOND_PER_ADDRESS = 25
ADDRESSES_KEPT = 10_000


class LookUpLimit:
    """Look-ups in any one second: of one address first, then of the replica."""

    def __init__(
        self,
        *,
        per_address: int = A_SECOND_PER_ADDRESS,
        per_replica: int = A_SECOND_PER_REPLICA,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._per_address = per_address
        self._clock = clock
        self._replica: deque[float] = deque(maxlen=per_replica)
        self._addresses: LRUCache[str, deque[float]] = LRUCache(ADDRESSES_KEPT)

    def take(self, address: str) -> None:
        """Count a look-up for *address*; raises `RateLimited` beyond the limit."""
        now = self._clock()
        own = self._addresses.get(address)
        if own is None:
            own = self._addresses[address] = deque(maxlen=self._per_address)
        for taken in (own, self._replica):
            if len(taken) == taken.maxlen and now - taken[0] < 1:
                raise RateLimited(
                    "Too many unknown keys are looked up.",
                    retry_after=timedelta(seconds=1),
                )
        own.append(now)
        self._replica.append(now)
