"""From the first signal to the end: what is notified, and what is waited for."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from aiohttp import web


class Lifecycle:
    """Whether this replica is on its way out, and what is still running.

    The server drives it; readiness reads it; the application registers what
    must happen. Callbacks run in the order in which they were registered.
    """

    def __init__(self) -> None:
        self.draining = False
        self.drain_began = asyncio.Event()
        self.listener_closed = asyncio.Event()
        self._requests = 0
        self._quiet = asyncio.Event()
        self._quiet.set()
        self._on_drain: list[Callable[[], None]] = []
        self._on_finish: list[Callable[[], Awaitable[None]]] = []
        self._on_give_up: list[Callable[[], Awaitable[None]]] = []

    def on_drain(self, callback: Callable[[], None]) -> None:
        """Call *callback* at once when the drain begins; it must not block."""
        self._on_drain.append(callback)

    def on_finish(self, callback: Callable[[], Awaitable[None]]) -> None:
        """Await *callback* after the last request: it returns when work has ended.

        It is cancelled when the grace is over.
        """
        self._on_finish.append(callback)

    def on_give_up(self, callback: Callable[[], Awaitable[None]]) -> None:
        """Await *callback* if work is left when the grace is over.

        It has half a second to let go of what others wait for.
        """
        self._on_give_up.append(callback)

    def drain(self) -> None:
        """Begin to go; from the second time on it is a no-op."""
        if self.draining:
            return
        self.draining = True
        self.drain_began.set()
        for callback in self._on_drain:
            callback()

    async def finish(self) -> None:
        """Return when no request is being answered and no work is running."""
        await self._quiet.wait()
        for callback in self._on_finish:
            await callback()

    async def give_up(self) -> None:
        """Release the work that is left, as the application registered it."""
        for callback in self._on_give_up:
            await callback()

    def request_began(self) -> None:
        """Count a request that must be answered before the end."""
        self._requests += 1
        if self._requests == 1:
            self._quiet.clear()

    def request_ended(self) -> None:
        """Count it off."""
        self._requests -= 1
        if self._requests == 0:
            self._quiet.set()


LIFECYCLE = web.AppKey("lifecycle", Lifecycle)
