"""The connection: clients that stall, that leave, and that ask nothing more.

Written for aiohttp 3.14; the names with an underscore are its own.
"""

from __future__ import annotations

import array
import fcntl
import logging
import termios
from typing import TYPE_CHECKING, Any, cast

from app.server.half_closed import BegunAnswer, GoneWatch
from app.server.parsed_connection import ParsedConnection
from app.server.raw_answers import RawAnswer

if TYPE_CHECKING:
    import asyncio

    from aiohttp import web

logger = logging.getLogger(__name__)

# How long a buffer may stay full: 256 KiB in 10 s is a slow mobile network.
WRITE_DEADLINE_SECONDS = 10.0


class Connection(ParsedConnection):
    """One client's connection."""

    __slots__ = ("_gone_watch", "_made_at", "_stalled", "_write_deadline_seconds")

    def __init__(
        self,
        server: web.Server,
        *,
        write_deadline_seconds: float = WRITE_DEADLINE_SECONDS,
        **options: Any,
    ) -> None:
        super().__init__(server, **options)
        self._write_deadline_seconds = write_deadline_seconds
        self._stalled: asyncio.TimerHandle | None = None
        self._gone_watch: GoneWatch | None = None
        self._made_at = self._loop.time()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Buffer nothing but what the kernel does not take.

        An answer that has been written then is out of our hands, and the
        deadline runs for all that is not.
        """
        super().connection_made(transport)
        cast("asyncio.Transport", transport).set_write_buffer_limits(high=0)

    def pause_writing(self) -> None:
        """Give the reader until the deadline to take what it asked for."""
        super().pause_writing()
        self._stalled = self._loop.call_later(
            self._write_deadline_seconds, self._cut_stalled, self.transport
        )

    def resume_writing(self) -> None:
        """Note that the reader has caught up."""
        super().resume_writing()
        self._call_off()

    def connection_lost(self, exc: BaseException | None) -> None:
        """Forget the timers with the connection."""
        self._call_off()
        if self._gone_watch is not None:
            self._gone_watch.stop()
        super().connection_lost(exc)

    def eof_received(self) -> bool:  # type: ignore[override]  # asyncio's has it
        """Keep the connection of a client that has asked and sends no more.

        A client that has left is cut as soon as the network tells the difference.
        """
        transport = self.transport
        if transport is None or not self._owes_answer():
            return False
        self._gone_watch = GoneWatch(transport, self._loop)
        if not self._has_begun_answer():
            self.transport = cast(
                "asyncio.Transport", BegunAnswer(transport, self._begun_is_over)
            )
        return True

    def close_if_idle(self, *, asking_seconds: float) -> None:
        """Close the connection unless its client has asked, or is asking.

        A client whose connection is new, or whose request has come in part,
        has *asking_seconds* from the connection's beginning.
        """
        transport = self.transport
        if transport is None or not self._is_idle():
            return
        is_asking = self._request_count == 0 or self._head is not None
        if is_asking and self._loop.time() < self._made_at + asking_seconds:
            return
        if _unread_bytes(transport) == 0:
            self.force_close()

    async def finish_response(
        self,
        request: web.BaseRequest,
        resp: web.StreamResponse,
        start_time: float | None,
    ) -> tuple[web.StreamResponse, bool]:
        """Send *resp*; a ready one without what aiohttp does for the others."""
        if isinstance(resp, RawAnswer):
            answer: tuple[web.StreamResponse, bool] = resp, not await self._send(resp)
        else:
            answer = await super().finish_response(request, resp, start_time)
        if self._gone_watch is not None and not self._messages:
            # The client sends no more.
            self.close()
        return answer

    def _is_idle(self) -> bool:
        """Return whether the next request is waited for, and none is there."""
        waiter = self._waiter
        return not self._messages and waiter is not None and not waiter.done()

    def _owes_answer(self) -> bool:
        """Return whether a request has come whole and is not answered yet."""
        has_asked = self._request_count > 0
        return has_asked and not self._is_idle() and self._last_body.is_eof()

    def _has_begun_answer(self) -> bool:
        if self._current_request is not None:
            return self._current_request.writer.output_size > 0
        # Once its handler has returned, an answer is written at once.
        return self._request_in_progress

    def _begun_is_over(self) -> None:
        begun = self.transport
        if isinstance(begun, BegunAnswer):
            self.transport = begun.transport

    async def _send(self, answer: RawAnswer) -> bool:
        """Write *answer* and return whether the client took it."""
        if self.transport is None or self.transport.is_closing():
            return False
        answer.write_to(self.transport)
        if self.writing_paused:
            try:
                await self._drain_helper()
            except ConnectionError:
                return False
        return True

    def _cut_stalled(self, transport: asyncio.Transport | None) -> None:
        if transport is not None:
            self._metrics.cut_body("stalled")
            logger.info("stalled reader cut")
            transport.abort()

    def _call_off(self) -> None:
        if self._stalled is not None:
            self._stalled.cancel()
            self._stalled = None


def _unread_bytes(transport: asyncio.Transport) -> int:
    """Return the number of bytes that have arrived and are not read."""
    count = array.array("i", [0])
    fcntl.ioctl(transport.get_extra_info("socket").fileno(), termios.FIONREAD, count)
    return count[0]
