"""The server's life: listen, answer, and go without losing a request.

The drain, from the first SIGTERM or SIGINT: readiness says so at once, the
listener stays for a moment so that balancers notice, then it and every idle
connection close, requests and running generations finish, and what is left at
the end is given up.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
from typing import TYPE_CHECKING

from app.server.lifecycle import LIFECYCLE, Lifecycle
from app.server.listener import CannotListen, Listener, PortInUse, bind, listening

if TYPE_CHECKING:
    import socket
    from collections.abc import Awaitable, Callable, Iterator, Sequence

    from aiohttp import web

__all__ = ["CannotListen", "EndedNow", "PortInUse", "bind", "serve"]

logger = logging.getLogger(__name__)

# How long the listener stays at the most: balancers ask every few seconds.
LONGEST_NOTICE_SECONDS = 5.0
NOTICE_SHARE = 0.25

# After the grace: letting go, the last answers, and all in all until the end.
# The promise is a second, of which the interpreter needs its part.
GIVE_UP_SECONDS = 0.25
LAST_ANSWERS_SECONDS = 0.1
LAST_SECONDS = 0.5


class EndedNow(Exception):
    """A second signal was SIGINT: its sender does not wait."""


async def serve(
    app: web.Application,
    *,
    host: str,
    port: int,
    grace_seconds: float,
    on_listening: Callable[[int], None] | None = None,
    sockets: Sequence[socket.socket] | None = None,
) -> None:
    """Answer until a signal asks to stop; return after the drain.

    *app* has its `LIFECYCLE` and `METRICS` from `frame.install`;
    *on_listening* is given the port. *sockets* of an earlier `bind` replace
    *host* and *port*. Raises `PortInUse`, `CannotListen` or `EndedNow`.
    Once a signal came SIGTERM stays ignored, for the process is going.
    """
    sockets = bind(host, port) if sockets is None else sockets
    lifecycle = app[LIFECYCLE]
    with _signals(lifecycle) as stop:
        try:
            async with asyncio.timeout(None) as stop.limit:
                async with listening(app, sockets) as listener:
                    stop.is_listening = True
                    logger.info("listening", extra={"port": listener.port})
                    if on_listening is not None:
                        on_listening(listener.port)
                    await stop.asked.wait()
                    await _drain(lifecycle, listener, stop, grace_seconds)
        except TimeoutError:
            logger.warning("ended before everything was closed")
        except asyncio.CancelledError:
            if not stop.asked.is_set():
                raise
            stop.take_back()
        if stop.ended_now:
            raise EndedNow
    logger.info("stopped")


class _Stop:
    """The signals that have come, and what they mean for the task that serves."""

    def __init__(self, lifecycle: Lifecycle) -> None:
        self.asked = asyncio.Event()
        self.asked_at = 0.0
        self.ended_now = False
        self.is_listening = False
        self.limit = asyncio.timeout(None)
        self._lifecycle = lifecycle
        self._task = asyncio.current_task()

    def terminate(self) -> None:
        """Begin the drain; from the second time on it is a no-op."""
        if self.asked.is_set():
            return
        self.asked_at = asyncio.get_running_loop().time()
        logger.info("draining")
        self._lifecycle.drain()
        self.asked.set()
        if not self.is_listening:
            self._end()

    def interrupt(self) -> None:
        """Begin the drain; the second time, end it."""
        if not self.asked.is_set():
            self.terminate()
        elif not self.ended_now:
            self.ended_now = True
            self._end()

    def take_back(self) -> None:
        """Undo the cancellation that a signal was turned into."""
        if self._task is not None:
            self._task.uncancel()

    def _end(self) -> None:
        if self._task is not None:
            self._task.cancel()
        self.limit.reschedule(asyncio.get_running_loop().time() + LAST_SECONDS)


@contextlib.contextmanager
def _signals(lifecycle: Lifecycle) -> Iterator[_Stop]:
    loop = asyncio.get_running_loop()
    stop = _Stop(lifecycle)
    loop.add_signal_handler(signal.SIGTERM, stop.terminate)
    loop.add_signal_handler(signal.SIGINT, stop.interrupt)
    try:
        yield stop
    finally:
        loop.remove_signal_handler(signal.SIGINT)
        loop.remove_signal_handler(signal.SIGTERM)
        if stop.asked.is_set():
            # A second one must not kill what is closing after us.
            signal.signal(signal.SIGTERM, signal.SIG_IGN)


async def _drain(
    lifecycle: Lifecycle, listener: Listener, stop: _Stop, grace_seconds: float
) -> None:
    end_at = stop.asked_at + grace_seconds
    stop.limit.reschedule(end_at + LAST_SECONDS)
    await asyncio.sleep(min(LONGEST_NOTICE_SECONDS, grace_seconds * NOTICE_SHARE))
    listener.close()
    lifecycle.listener_closed.set()
    logger.info("listener closed")
    left = end_at - asyncio.get_running_loop().time()
    if await _ends(_finish(lifecycle, listener), within_seconds=left):
        return
    logger.warning("work given up")
    await _ends(lifecycle.give_up(), within_seconds=GIVE_UP_SECONDS)
    await _ends(lifecycle.finish(), within_seconds=LAST_ANSWERS_SECONDS)


async def _finish(lifecycle: Lifecycle, listener: Listener) -> None:
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(listener.close_connections(), name="close-connections")
        tasks.create_task(lifecycle.finish(), name="finish")


async def _ends(work: Awaitable[None], *, within_seconds: float) -> bool:
    """Return whether *work* came to its end in time; it is cancelled if not."""
    try:
        async with asyncio.timeout(within_seconds):
            await work
    except TimeoutError:
        return False
    except Exception:
        # Whatever one part has met, the others are still to be closed.
        logger.exception("drain failed")
    return True
