"""Bounds on calls to the store: seconds for each, and how many at once."""

from __future__ import annotations

import asyncio
from types import TracebackType

from app.errors import StorageUnavailable

# Calls to a frozen store hold their slots for as long as a read may take; a call
# that waits behind them fails sooner.
MAX_WAITING_SECONDS = 0.5

# A picture of 16 MiB over a line of 2 Mbit/s arrives in time, and is not paid twice.
_BYTES_A_SECOND = 262_144

# A timer that fires this late says that our own loop stood still.
_STALL_SECONDS = 0.1
_GRACE_SECONDS = 0.25


def with_time_for(size: int, seconds: float) -> float:
    """Return *seconds*, and one more for each 256 KiB of *size* bytes."""
    return seconds + size / _BYTES_A_SECOND


class stall_tolerant_timeout:  # noqa: N801 - a context manager like asyncio.timeout
    """Raise `TimeoutError` if the body of the context takes longer than *seconds*.

    A stall of our own loop must not read as an outage: after one the answer
    may lie unread in the socket, so there is a quarter of a second to read it.
    """

    def __init__(self, seconds: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._due = self._loop.time() + seconds
        self._deadline = asyncio.timeout(None)

    async def __aenter__(self) -> None:
        await self._deadline.__aenter__()
        self._timer = self._loop.call_at(self._due, self._decide)

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._timer.cancel()
        await self._deadline.__aexit__(kind, error, traceback)

    def _decide(self) -> None:
        now = self._loop.time()
        stalled = now - self._due > _STALL_SECONDS
        self._deadline.reschedule(now + _GRACE_SECONDS if stalled else now)


class CallLimit:
    """A bounded number of calls at once; as a context it is one of them."""

    def __init__(
        self, at_once: int, *, waits_seconds: float = MAX_WAITING_SECONDS
    ) -> None:
        self._free = asyncio.Semaphore(at_once)
        self._waits_seconds = waits_seconds

    @property
    def is_full(self) -> bool:
        """Whether the next call has to wait."""
        return self._free.locked()

    async def __aenter__(self) -> None:
        await self.take()

    async def __aexit__(self, *_: object) -> None:
        self.give_back()

    async def take(self) -> None:
        """Take a slot; raises `StorageUnavailable` if none is free in time."""
        if not self._free.locked():
            # A slot is free, so no timer is needed.
            await self._free.acquire()
            return
        try:
            async with stall_tolerant_timeout(self._waits_seconds):
                await self._free.acquire()
        except TimeoutError:
            raise StorageUnavailable("The object store is overloaded.") from None

    def give_back(self) -> None:
        """Give the slot back."""
        self._free.release()
