"""How long a call to the store may take, and how many there may be at once."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from app.errors import StorageUnavailable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

# A frozen store holds its places for as long as a read may take; whoever
# stands in line behind them is told sooner.
MAX_WAITING_SECONDS = 0.5

# A timer that fires this late says that our own loop stood still.
_STALL_SECONDS = 0.1
_GRACE_SECONDS = 0.25


@asynccontextmanager
async def within(seconds: float) -> AsyncIterator[None]:
    """Raise `TimeoutError` if the body takes longer than *seconds*.

    A stall of our own loop must not read as an outage: after one the answer
    may lie unread in the socket, so there is a quarter of a second to read it.
    """
    loop = asyncio.get_running_loop()
    due = loop.time() + seconds

    def decide() -> None:
        now = loop.time()
        stalled = now - due > _STALL_SECONDS
        deadline.reschedule(now + _GRACE_SECONDS if stalled else now)

    async with asyncio.timeout(None) as deadline:
        timer = loop.call_at(due, decide)
        try:
            yield
        finally:
            timer.cancel()


class Places:
    """A bounded number of calls at once."""

    def __init__(self, at_once: int) -> None:
        self._free = asyncio.Semaphore(at_once)

    @asynccontextmanager
    async def taken(self) -> AsyncIterator[None]:
        """Hold a place as `take` takes it."""
        await self.take()
        try:
            yield
        finally:
            self.give_back()

    async def take(self) -> None:
        """Take a place; raises `StorageUnavailable` if none is free in time."""
        try:
            async with within(MAX_WAITING_SECONDS):
                await self._free.acquire()
        except TimeoutError:
            raise StorageUnavailable("The object store is overloaded.") from None

    def give_back(self) -> None:
        """Give a place back."""
        self._free.release()
