"""The limit of unpainted prompts that visitors of scopes look up in a second."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from datetime import timedelta

from cachetools import LRUCache

from app.errors import RateLimited

PER_SECOND_OF_REPLICA = 200
PER_SECOND_OF_ADDRESS = 20
MAX_ADDRESSES = 10_000


class VisitorLimit:
    """Look-ups in any one second: of one address first, then of the replica."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._replica: deque[float] = deque(maxlen=PER_SECOND_OF_REPLICA)
        self._addresses: LRUCache[str, deque[float]] = LRUCache(MAX_ADDRESSES)

    def take(self, address: str) -> None:
        """Count a look-up for *address*; raises `RateLimited` beyond the limit."""
        now = self._clock()
        own = self._addresses.get(address)
        if own is None:
            own = self._addresses[address] = deque(maxlen=PER_SECOND_OF_ADDRESS)
        for taken in (own, self._replica):
            if len(taken) == taken.maxlen and now - taken[0] < 1:
                raise RateLimited(
                    "Too many prompts that are not painted are looked up.",
                    retry_after=timedelta(seconds=1),
                )
        own.append(now)
        self._replica.append(now)
