"""A pause before each refusal of a flood: a client that waits asks nothing."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

# Refusals that are sent at once in any second; those of a page's visitors are fewer.
PER_SECOND = 100
# As the refusal's own Retry-After has it.
HELD_SECONDS = 1.0
# Each has a connection and a task; beyond that many, refusals are sent at once.
MAX_HELD = 2_000


class RefusalHold:
    """Holds refusals for a second each, while there are more than 100 a second.

    Strangers that ask again as soon as they are answered would otherwise take
    the time of the event loop from customers.
    """

    def __init__(
        self,
        *,
        held_seconds: float = HELD_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._held_seconds = held_seconds
        self._clock = clock
        self._recent: deque[float] = deque(maxlen=PER_SECOND)
        self._held = 0

    async def wait(self) -> None:
        """Return when the refusal that comes next may be sent."""
        now, recent = self._clock(), self._recent
        is_flood = len(recent) == PER_SECOND and now - recent[0] < 1
        recent.append(now)
        if not is_flood or self._held >= MAX_HELD:
            return
        self._held += 1
        try:
            await asyncio.sleep(self._held_seconds)
        finally:
            self._held -= 1
