"""Clients that close their half of a connection while they wait for an answer.

To TCP it looks the same whether a client has sent all that it wants to send
and reads on (`nc -N`), or has left. Only writing makes the difference: one
that has left answers with a reset. So the bytes that begin every answer are
sent at once, and the answer goes on from there.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Iterable
from typing import Any

BEGINNING = b"HTTP/1."

# When to look whether the beginning was answered with a reset: after a round
# trip on this machine, in a data centre, around the world; then now and then.
_LOOKS_AFTER_SECONDS = (0.005, 0.05, 0.5)
_LOOKS_EVERY_SECONDS = 1.0


class BegunAnswer:
    """A transport whose next write begins with `BEGINNING`, which is sent already.

    All else is the transport's own.
    """

    def __init__(self, transport: asyncio.Transport, ended: Callable[[], None]) -> None:
        self.transport = transport
        self._ended = ended
        transport.write(BEGINNING)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Write *data* without the beginning; *ended* is called first."""
        self._ended()
        self.transport.write(memoryview(data)[len(BEGINNING) :])

    def writelines(self, chunks: Iterable[bytes]) -> None:
        """Write *chunks* as one."""
        self.write(b"".join(chunks))

    def __getattr__(self, name: str) -> Any:
        return getattr(self.transport, name)


class GoneWatch:
    """Cuts the connection of a client that answers with a reset.

    An event loop does not see a reset on a connection from which it has read
    the end, so the kernel is asked.
    """

    def __init__(
        self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop
    ) -> None:
        self._transport = transport
        self._loop = loop
        self._looks = iter(_LOOKS_AFTER_SECONDS)
        self._timer = self._next()

    def stop(self) -> None:
        """Look no more."""
        self._timer.cancel()

    def _next(self) -> asyncio.TimerHandle:
        seconds = next(self._looks, _LOOKS_EVERY_SECONDS)
        return self._loop.call_later(seconds, self._look)

    def _look(self) -> None:
        if self._transport.is_closing():
            return
        if _was_reset(self._transport):
            self._transport.abort()
        else:
            self._timer = self._next()


def _was_reset(transport: asyncio.Transport) -> bool:
    try:
        ours: socket.socket = transport.get_extra_info("socket")
        return ours.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) != 0
    except OSError:
        return True
