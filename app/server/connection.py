"""The connection: what the HTTP parser refuses, and readers that stall.

Nothing of this passes the application, so aiohttp would answer it by itself:
in plain text, with its versions, quoting what it could not read. Written for
aiohttp 3.14; the names with an underscore are its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
from typing import TYPE_CHECKING, Any, cast

from aiohttp import HttpVersion10, HttpVersion11, hdrs, web
from aiohttp.http_exceptions import LineTooLong
from aiohttp.web_protocol import _ErrInfo

from app.http.http_errors import MalformedRequest, UriTooLong
from app.http.problems import problem_response, row_for
from app.server.frame import new_request_id
from app.server.raw_answers import RawAnswer
from app.telemetry import REQUEST_ID
from app.telemetry.metrics import OTHER, UNMATCHED

if TYPE_CHECKING:
    from app.telemetry import Metrics

logger = logging.getLogger(__name__)

MAX_TARGET_BYTES = 65_536

# As much as other servers take; with the number of fields it bounds what a
# connection holds before anybody is known.
MAX_FIELD_BYTES = 8_190
MAX_FIELDS = 100

# How long a buffer may stay full: 256 KiB in 10 s is a slow mobile network.
WRITE_DEADLINE_SECONDS = 10.0

# How long what is still coming is read and dropped after a refusal. Closing
# at once would reset the connection and with it the answer.
LINGER_SECONDS = 2.0


# A request line of HTTP/1.0; what is answered otherwise speaks 1.1 or nothing.
_OLD_REQUEST = re.compile(rb"^[^\r\n]+ HTTP/1\.0\r?$", re.MULTILINE)


class Connection(web.RequestHandler):
    """One client's connection."""

    __slots__ = ("_metrics", "_stalled", "_version", "_write_deadline_seconds")

    def __init__(
        self,
        server: web.Server,
        *,
        metrics: Metrics,
        write_deadline_seconds: float = WRITE_DEADLINE_SECONDS,
        **options: Any,
    ) -> None:
        super().__init__(
            server,
            max_line_size=MAX_TARGET_BYTES,
            max_field_size=MAX_FIELD_BYTES,
            max_headers=MAX_FIELDS,
            lingering_time=LINGER_SECONDS,
            **options,
        )
        self._metrics = metrics
        self._write_deadline_seconds = write_deadline_seconds
        self._stalled: asyncio.TimerHandle | None = None
        self._version = HttpVersion11

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
        """Forget the deadline with the connection."""
        self._call_off()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Read on; a body that breaks off in nonsense fails for its reader, too.

        Else the handler would wait for the rest until its own deadline.
        """
        super().data_received(data)
        if not self._messages or not isinstance(self._messages[-1][0], _ErrInfo):
            return
        if _OLD_REQUEST.search(data):
            self._version = HttpVersion10
        current = self._current_request
        if current is not None and not current.content.is_eof():
            current.content.set_exception(web.RequestPayloadError())

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,  # noqa: ARG002 - it quotes what could not be read
    ) -> web.StreamResponse:
        """Return the problem for what no middleware has answered."""
        if isinstance(exc, ConnectionError) or request.writer.output_size > 0:
            raise ConnectionResetError("There is nobody to answer.") from exc
        if status < 500:  # noqa: PLR2004 - the parser's refusals are 400
            response = self._refusal(_refusal_of(exc))
            # aiohttp's own is 1.0, for it has read none.
            request._version = self._version  # noqa: SLF001 - see above
        else:
            logger.error("request failed", extra={"status": status}, exc_info=exc)
            response = self._refusal(exc or RuntimeError())
        response.force_close()
        # aiohttp leaves it out of answers in HTTP/1.0.
        response.headers[hdrs.CONNECTION] = "close"
        return response

    async def finish_response(
        self,
        request: web.BaseRequest,
        resp: web.StreamResponse,
        start_time: float | None,
    ) -> tuple[web.StreamResponse, bool]:
        """Send *resp*; a ready one without what aiohttp does for the others."""
        if isinstance(resp, RawAnswer):
            return resp, not await self._send(resp)
        answer = await super().finish_response(request, resp, start_time)
        if request.method == "UNKNOWN":
            await self._linger()
        return answer

    async def _send(self, answer: RawAnswer) -> bool:
        """Say whether somebody was there to take *answer*, at his own pace."""
        if self.transport is None or self.transport.is_closing():
            return False
        answer.write_to(self.transport)
        if self.writing_paused:
            try:
                await self._drain_helper()
            except ConnectionError:
                return False
        return True

    def _refusal(self, error: BaseException) -> web.Response:
        response = problem_response(error, REQUEST_ID.get() or new_request_id())
        row = row_for(error)
        logger.debug("request refused", extra={"code": row.code})
        self._metrics.request(UNMATCHED, OTHER, row.status, 0.0)
        return response

    async def _linger(self) -> None:
        """Say that nothing more comes, and let the client read it in peace."""
        self.close()
        if self.transport is not None and self.transport.can_write_eof():
            # Writing may be over already where the client has gone.
            with contextlib.suppress(OSError, RuntimeError):
                self.transport.write_eof()
        await asyncio.sleep(LINGER_SECONDS)

    def _cut_stalled(self, transport: asyncio.Transport | None) -> None:
        if transport is not None:
            self._metrics.cut_body("stalled")
            logger.info("stalled reader cut")
            transport.abort()

    def _call_off(self) -> None:
        if self._stalled is not None:
            self._stalled.cancel()
            self._stalled = None


def _refusal_of(error: BaseException | None) -> MalformedRequest | UriTooLong:
    if isinstance(error, LineTooLong) and error.args[1] == MAX_TARGET_BYTES:
        return UriTooLong(
            f"The request target may have {MAX_TARGET_BYTES} bytes at the most."
        )
    return MalformedRequest("This is not HTTP as the service reads it.")
