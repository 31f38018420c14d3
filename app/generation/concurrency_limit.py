"""ConcurrencyLimit: how many paint at once, and how many may wait for that."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING

from app.errors import QueueFull

if TYPE_CHECKING:
    from collections.abc import Callable

# Places come free as paintings end, and a painting takes seconds.
_RETRY_AFTER = timedelta(seconds=5)


class ConcurrencyLimit:
    """*concurrency* places to paint and *queue* to wait, in order of arrival."""

    def __init__(self, concurrency: int, queue: int) -> None:
        self._free = concurrency
        self._queue = queue
        self._waiting: dict[object, asyncio.Future[None]] = {}

    async def acquire(self, who: object) -> Callable[[], None]:
        """Take a place, waiting for a turn, and return what gives it back.

        Call that exactly once. Raises `QueueFull` at once if no place is left
        to wait; a cancelled wait leaves nothing behind.
        """
        if self._free:
            self._free -= 1
        else:
            await self._turn(who)
        return self._release

    @property
    def waiting(self) -> int:
        """How many wait."""
        return len(self._waiting)

    def position_of(self, who: object) -> int | None:
        """Return how many turns it is until *who* paints; None if not waiting."""
        for position, waiting in enumerate(self._waiting, start=1):
            if waiting is who:
                return position
        return None

    async def _turn(self, who: object) -> None:
        if len(self._waiting) >= self._queue:
            raise QueueFull(
                "Too many paintings wait for this model.", retry_after=_RETRY_AFTER
            )
        turn = asyncio.get_running_loop().create_future()
        self._waiting[who] = turn
        try:
            await turn
        except asyncio.CancelledError:
            # The place may have been handed over in the very turn of the event
            # loop in which this wait was cancelled: then it goes on to the next.
            if turn.cancelled():
                self._waiting.pop(who, None)
            else:
                self._release()
            raise

    def _release(self) -> None:
        while self._waiting:
            turn = self._waiting.pop(next(iter(self._waiting)))
            # A wait that was cancelled just now has not left the queue yet.
            if not turn.done():
                turn.set_result(None)
                return
        self._free += 1
