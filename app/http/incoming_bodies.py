"""Bodies of requests: checked by their heads, asked for, and read in time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import HttpVersion11, hdrs, web

from app.http.http_errors import (
    LengthRequired,
    PayloadTooLarge,
    RequestTimeout,
    UnsupportedMediaType,
)

BODY_DEADLINE_SECONDS = 15.0
# Replaces it in one application.
DEADLINE_SECONDS = web.AppKey("body_deadline_seconds", float)

_PIECE_BYTES = 65_536

_WAITS_FOR_GO_AHEAD = web.RequestKey("waits_for_go_ahead", bool)


def require_uncompressed(request: web.Request) -> None:
    """Raise `UnsupportedMediaType` for a body with an encoding."""
    if request.headers.get(hdrs.CONTENT_ENCODING, "identity") != "identity":
        raise UnsupportedMediaType("The body must not be compressed.")


def announced_length(request: web.Request) -> int:
    """Return the length of the body; raises `LengthRequired`."""
    if request.content_length is None:
        raise LengthRequired("The body needs a Content-Length.")
    return request.content_length


def bounded_length(request: web.Request, max_bytes: int) -> int:
    """Return the length of the body; raises `PayloadTooLarge` beyond *max_bytes*."""
    length = announced_length(request)
    if length > max_bytes:
        raise PayloadTooLarge(f"The body must have at most {max_bytes} bytes.")
    return length


@asynccontextmanager
async def incoming(request: web.Request, *, times: float = 1.0) -> AsyncIterator[None]:
    """Ask for the body, which must be read before the context closes.

    Raises `RequestTimeout` for one that takes longer than *times* the deadline.
    """
    seconds = request.app.get(DEADLINE_SECONDS, BODY_DEADLINE_SECONDS)
    try:
        async with asyncio.timeout(seconds * times):
            await _go_ahead(request)
            yield
    except TimeoutError:
        raise RequestTimeout("The body was not complete in time.") from None


async def next_piece(request: web.Request) -> bytes:
    """Return the next 64 KiB at most of the body, or no bytes at its end.

    Other requests are served before it: what has arrived of a body may be more
    than half a megabyte, which takes tens of milliseconds to decode.
    """
    await asyncio.sleep(0)
    return await request.content.read(_PIECE_BYTES)


async def go_ahead_later(request: web.Request) -> None:
    """Answer `Expect: 100-continue` when the head was accepted: an expect handler.

    aiohttp's own asks for the body before the head has been checked.
    """
    if request.headers.get(hdrs.EXPECT, "").lower() != "100-continue":
        raise web.HTTPExpectationFailed
    request[_WAITS_FOR_GO_AHEAD] = request.version >= HttpVersion11


async def _go_ahead(request: web.Request) -> None:
    """Ask for the body where the client waits to be asked for it."""
    if request.get(_WAITS_FOR_GO_AHEAD, False):
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        # An interim answer; the real one has not begun.
        request.writer.output_size = 0
