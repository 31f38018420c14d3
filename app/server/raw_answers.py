"""Answers whose head is bytes before they are asked for, sent in one write.

For every response aiohttp copies, completes, checks and serializes some twenty
header fields, which is a third of the time of a HIT. What a picture always says
is serialized once instead (`http/picture_headers.py`), and an answer adds the few
lines of its own.
"""

from __future__ import annotations

import asyncio
import sys
import time
from email.utils import formatdate
from functools import lru_cache
from http import HTTPStatus

from aiohttp import HttpVersion11, hdrs, web

from app.http.problems import SERVER
from app.telemetry import REQUEST_ID

# The event loops of CPython 3.12 before 3.12.9 and 3.13 before 3.13.2 let a
# buffer grow without end after `writelines` (CVE-2024-12254).
PAUSES_AFTER_WRITELINES = (
    sys.version_info < (3, 12)
    or (3, 12, 9) <= sys.version_info < (3, 13)
    or sys.version_info >= (3, 13, 2)
)

# The statuses of HITs, and of refusals, which strangers may cause in any number.
_BEGINNINGS: dict[int, bytes] = {
    status: f"HTTP/1.1 {status} {status.phrase}\r\nServer: {SERVER}\r\n".encode()
    for status in map(HTTPStatus, (200, 304, 401, 403, 404, 429))
}
READY_STATUSES = frozenset(_BEGINNINGS)


def may_be_raw(request: web.BaseRequest) -> bool:
    """Return whether *request* is a GET whose answer leaves its connection open."""
    return (
        request.method == hdrs.METH_GET
        and request.version == HttpVersion11
        and request.keep_alive
        and hdrs.UPGRADE not in request.headers
    )


class RawAnswer(web.StreamResponse):
    """*body*, which may be empty, after a head with the lines in *head*.

    Those say its length. The date, the server and the request's id come with
    it. Only where `may_be_raw`, and only a `Connection` can send it.
    """

    def __init__(self, status: int, head: bytes, body: bytes = b"") -> None:
        # Not aiohttp's own: it prepares the fields that are bytes here.
        self._status = status
        self._lines = head
        self._ready_body = body

    @property
    def keep_alive(self) -> bool:
        """Whether the connection stays open: otherwise the answer would say so."""
        return True

    def write_to(self, transport: asyncio.Transport) -> None:
        """Write head and body at once."""
        head = b"%bX-Request-Id: %b\r\nDate: %b\r\n%b\r\n" % (
            _BEGINNINGS[self.status],
            (REQUEST_ID.get() or "").encode(),
            _date(int(time.time())),
            self._lines,
        )
        if not self._ready_body:
            transport.write(head)
        elif PAUSES_AFTER_WRITELINES:
            transport.writelines((head, self._ready_body))
        else:
            transport.write(head + self._ready_body)


@lru_cache(2)
def _date(second: int) -> bytes:
    return formatdate(second, usegmt=True).encode()
