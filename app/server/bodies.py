"""Sending picture bytes: all of them, or a connection that is cut.

Nothing here waits for ever: `Connection` cuts a reader that stalls. A slow one
holds a slice of memory and no more.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing

from aiohttp import hdrs, web

logger = logging.getLogger(__name__)

# One write for most pictures; above it a slow reader would hold too much.
AT_ONCE_BYTES = 256 * 1024

# Each is with the kernel before the next one is written (`Connection` has the
# marks set so), and a reader has the write deadline for each.
SLICE_BYTES = 128 * 1024


class BodyCut(ConnectionResetError):
    """The answer was cut after its head: *status* is what the client saw."""

    def __init__(self, status: int) -> None:
        super().__init__("The body was cut.")
        self.status = status


class WrongLength(Exception):
    """A source has fewer or more bytes than were promised."""


async def send_bytes(
    request: web.Request,
    headers: Mapping[str, str],
    data: bytes | memoryview,
    status: int = 200,
) -> web.StreamResponse:
    """Answer with *data*, which is in memory; HEAD has its length and no body."""
    size = len(data)
    if request.method == hdrs.METH_HEAD:
        return _head(headers, size, status)
    if size <= AT_ONCE_BYTES:
        return web.Response(body=bytes(data), status=status, headers=headers)
    response = await _start(request, headers, size, status)
    await _write(response, data)
    await request.writer.drain()
    return response


async def send_stream(
    request: web.Request,
    headers: Mapping[str, str],
    chunks: AsyncIterator[bytes],
    length: int,
    status: int = 200,
) -> web.StreamResponse:
    """Answer with *chunks*, exactly *length* bytes in all; HEAD reads none.

    What *chunks* raises before its first bytes is raised as it is. After that,
    and where it yields less or more than *length*, the connection is cut and
    `BodyCut` raised.
    """
    if request.method == hdrs.METH_HEAD:
        return _head(headers, length, status)
    # The head says 200 only once the source has begun to answer.
    first = await anext(chunks, b"")
    response = await _start(request, headers, length, status)
    async with aclosing(_exactly(length, first, chunks)) as body:
        while True:
            try:
                chunk = await anext(body, None)
            except Exception as error:
                raise cut_short(request, error, status) from error
            if chunk is None:
                break
            await _write(response, chunk)
    await request.writer.drain()
    return response


def cut(request: web.Request, status: int = 200) -> BodyCut:
    """Reset the connection at once; return the error to raise."""
    if request.transport is not None:
        request.transport.abort()
    return BodyCut(status)


def cut_short(request: web.Request, cause: Exception, status: int = 200) -> BodyCut:
    """Log that *cause* ends a body half-way; reset and return like `cut`."""
    logger.warning("body cut", extra={"cause": type(cause).__qualname__})
    return cut(request, status)


async def _start(
    request: web.Request, headers: Mapping[str, str], length: int, status: int
) -> web.StreamResponse:
    response = web.StreamResponse(status=status, headers=headers)
    response.content_length = length
    await response.prepare(request)
    return response


def _head(headers: Mapping[str, str], length: int, status: int) -> web.Response:
    own = {**headers, hdrs.CONTENT_LENGTH: str(length)}
    return web.Response(status=status, headers=own)


async def _exactly(
    length: int, first: bytes, rest: AsyncIterator[bytes]
) -> AsyncGenerator[bytes]:
    """Yield *first* and *rest*; the last chunk only when it is known to be the last.

    So no client has been sent a whole body by the time that its source finds
    fault with it (a wrong digest, say). Raises `WrongLength`.
    """
    chunk: bytes | None = first
    left = length
    while chunk is not None and len(chunk) < left:
        yield chunk
        left -= len(chunk)
        chunk = await anext(rest, None)
    if chunk is None or len(chunk) > left:
        raise WrongLength
    beyond = await anext(rest, b"")
    if beyond:
        raise WrongLength
    yield chunk


async def _write(response: web.StreamResponse, data: bytes | memoryview) -> None:
    view = memoryview(data)
    for at in range(0, len(view), SLICE_BYTES):
        await response.write(view[at : at + SLICE_BYTES])
