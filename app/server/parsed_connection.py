"""The connection's reading side: what the HTTP parser takes, and what it refuses.

Nothing that it refuses passes the application, so aiohttp would answer it by
itself: in plain text, with its versions, quoting what it could not read.
Written for aiohttp 3.14; the names with an underscore are its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
from typing import TYPE_CHECKING, Any

from aiohttp import EMPTY_PAYLOAD, HttpVersion10, HttpVersion11, hdrs, web
from aiohttp.web_protocol import _ErrInfo

from app import urls
from app.http.openai_errors import envelope_response
from app.http.problems import problem_response, row_for
from app.server.parser_refusals import (
    MAX_FIELD_BYTES,
    MAX_FIELDS,
    MAX_HEAD_BYTES,
    MAX_TARGET_BYTES,
    HeadTooLong,
    UnfinishedHead,
    refusal_of,
)
from app.server.request_context import new_request_id
from app.telemetry import REQUEST_ID
from app.telemetry.series import OTHER, UNMATCHED

if TYPE_CHECKING:
    from aiohttp.streams import StreamReader

    from app.telemetry import Metrics

logger = logging.getLogger(__name__)

# How long what is still coming is read and dropped after a refusal. Closing
# at once would reset the connection and with it the answer.
LINGER_SECONDS = 2.0

_END_OF_HEAD = b"\r\n\r\n"

# Heads of one read that are parsed one by one; the rest is parsed at once.
_HEADS_AT_ONCE = 100

# The method of a request that aiohttp makes up where it could read none.
_UNREAD = "UNKNOWN"

# A request line of HTTP/1.0; what is answered otherwise speaks 1.1 or nothing.
_OLD_REQUEST = re.compile(rb"^[^\r\n]+ HTTP/1\.0\r?$", re.MULTILINE)


class ParsedConnection(web.RequestHandler):
    """A connection whose requests are read, or refused in the service's words."""

    __slots__ = (
        "_body_left",
        "_head",
        "_last_body",
        "_metrics",
        "_version",
    )

    def __init__(self, server: web.Server, *, metrics: Metrics, **options: Any) -> None:
        super().__init__(
            server,
            max_line_size=MAX_TARGET_BYTES,
            max_field_size=MAX_FIELD_BYTES,
            max_headers=MAX_FIELDS,
            lingering_time=LINGER_SECONDS,
            **options,
        )
        self._metrics = metrics
        self._version = HttpVersion11
        self._head: UnfinishedHead | None = None
        self._last_body: StreamReader = EMPTY_PAYLOAD
        self._body_left = 0

    def data_received(self, data: bytes) -> None:
        """Parse *data*, each of its heads by itself.

        aiohttp drops what follows a request with `Upgrade` in the same read. No head
        is looked for in a body: that took a quarter of the time of an upload.
        """
        start = self._parse_body(data, 0) if self._body_left else 0
        for _ in range(_HEADS_AT_ONCE):
            end = data.find(_END_OF_HEAD, start, -1)
            if end < 0:
                break
            end += len(_END_OF_HEAD)
            self._parse(data[start:end])
            start = self._parse_body(data, end)
        if start < len(data) or not data:
            self._parse(data[start:] if start else data)

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,  # noqa: ARG002 - it quotes what could not be read
    ) -> web.StreamResponse:
        """Return the problem for what no middleware has answered."""
        is_openai = self._is_openai(request)
        if isinstance(exc, ConnectionError) or request.writer.output_size > 0:
            raise ConnectionResetError("The client has gone.") from exc
        if status < 500:  # noqa: PLR2004 - the parser's refusals are 400
            head = b"" if self._head is None else self._head.line
            response = self._refusal(refusal_of(exc, head), is_openai=is_openai)
            # aiohttp's own is 1.0, for it has read none.
            request._version = self._version  # noqa: SLF001 - see above
        else:
            logger.error("request failed", extra={"status": status}, exc_info=exc)
            response = self._refusal(exc or RuntimeError(), is_openai=is_openai)
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
        """Send *resp*; let the client of a refusal read it before the end."""
        answer = await super().finish_response(request, resp, start_time)
        if request.method == _UNREAD:
            await self._linger()
        return answer

    def _parse_body(self, data: bytes, start: int) -> int:
        """Parse what *data* has from *start* on of the body; return its end."""
        if not self._body_left:
            return start
        body = data[start : start + self._body_left]
        self._body_left -= len(body)
        self._parse(body)
        return start + len(body)

    def _parse(self, data: bytes) -> None:
        begun = self._request_count
        super().data_received(data)
        if self._upgraded and self._parser is not None:
            # No other protocol is spoken here: what follows is HTTP.
            self._upgraded = False
            self._parser.set_upgraded(False)
        if not self._messages:
            if data and self._current_request is None:
                self._note_unfinished(data)
            return
        message, body = self._messages[-1]
        if isinstance(message, _ErrInfo):
            self._note_refused(data)
        else:
            self._head, self._last_body = None, body
            if body is not EMPTY_PAYLOAD and self._request_count > begun:
                # The end of a chunked one looks like that of a head.
                length = int(message.headers.get(hdrs.CONTENT_LENGTH, "0"))
                self._body_left = max(0, length - body.total_bytes)

    def _note_unfinished(self, data: bytes) -> None:
        if self._waiter is None and self._request_count > 0:
            # The rest of a body that is read and dropped.
            return
        head = self._head = self._head or UnfinishedHead()
        head.add(data)
        if head.size > MAX_HEAD_BYTES:
            error = _ErrInfo(400, HeadTooLong(b"", MAX_HEAD_BYTES), "")
            self._messages.append((error, EMPTY_PAYLOAD))
            if self._waiter is not None and not self._waiter.done():
                self._waiter.set_result(None)

    def _note_refused(self, data: bytes) -> None:
        """Keep what the refusal is about; a body that breaks off fails as well.

        Else its handler would wait for the rest until its own deadline.
        """
        if _OLD_REQUEST.search(data):
            self._version = HttpVersion10
        head = self._head = self._head or UnfinishedHead()
        head.begin(data)
        head.line += data
        current = self._current_request
        if current is not None and not current.content.is_eof():
            current.content.set_exception(web.RequestPayloadError())

    def _is_openai(self, request: web.BaseRequest) -> bool:
        """Return whether *request*, which may be unread, is to OpenAI's API."""
        if request.method != _UNREAD:
            return urls.is_openai(request.path)
        return self._head is not None and self._head.is_openai

    def _refusal(self, error: BaseException, *, is_openai: bool) -> web.Response:
        respond = envelope_response if is_openai else problem_response
        request_id = REQUEST_ID.get() or new_request_id()
        response = respond(error, request_id, headers={})
        row = row_for(error)
        logger.debug("request refused", extra={"code": row.code})
        self._metrics.request(UNMATCHED, OTHER, row.status, 0.0)
        return response

    async def _linger(self) -> None:
        """Close our half, and give the client time to read the answer."""
        self.close()
        if self.transport is not None and self.transport.can_write_eof():
            # Writing may be over already where the client has gone.
            with contextlib.suppress(OSError, RuntimeError):
                self.transport.write_eof()
        await asyncio.sleep(LINGER_SECONDS)
