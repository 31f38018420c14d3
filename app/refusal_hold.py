"""Refusals of a flood, sent at an even pace: a client that waits sends no more."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

# Some half of what one replica could send in a second, and nothing else.
PER_SECOND = 200
# As many are sent at once; those of a page's visitors are fewer.
BURST = 50
# Clients give up on what takes much longer.
LONGEST_SECONDS = 2.0


class RefusalHold:
    """Holds refusals back, up to two seconds each, where there are too many.

    Strangers that ask again as soon as they are answered would otherwise take
    the time of the event loop from customers. The pace is that of the generic
    cell rate algorithm (ITU-T I.371). Once *until* is set nothing is held: no
    stranger can ask again, and a replica that ends waits for no refusal.
    """

    def __init__(
        self,
        *,
        until: asyncio.Event | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._until = until or asyncio.Event()
        self._clock = clock
        self._last = 0.0

    async def wait(self) -> None:
        """Return when the refusal that comes next may be sent."""
        now = self._clock()
        burst_seconds = BURST / PER_SECOND
        due = max(self._last, now) + 1 / PER_SECOND
        self._last = min(due, now + burst_seconds + LONGEST_SECONDS)
        hold_seconds = self._last - now - burst_seconds
        if hold_seconds <= 0:
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(hold_seconds):
                await self._until.wait()
