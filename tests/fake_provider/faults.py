"""Modes that break the connection, or exhaust the reader's time or memory."""

from __future__ import annotations

import asyncio
import socket
import struct
import zlib
from typing import TYPE_CHECKING

from aiohttp import web

if TYPE_CHECKING:
    from tests.fake_provider.answers import Mode
    from tests.fake_provider.behaviour import Behaviour
    from tests.fake_provider.records import Call

_ENDLESS_BYTES = 1 << 31


async def _short_body(
    request: web.Request, call: Call, behaviour: Behaviour
) -> web.StreamResponse:
    """Announce more bytes than are sent before the connection is closed."""
    response = await _start(request, content_length=100_000)
    await response.write(b'{"data": [')
    return _cut(request, response)


async def _reset_before_headers(
    request: web.Request, call: Call, behaviour: Behaviour
) -> web.StreamResponse:
    """Reset the connection before any answer."""
    _reset(request)
    return web.Response()


async def _reset_in_body(
    request: web.Request, call: Call, behaviour: Behaviour
) -> web.StreamResponse:
    """Reset the connection in the middle of the answer."""
    response = await _start(request, content_length=100_000)
    await response.write(b'{"data": [')
    _reset(request)
    return response


async def _huge_length(
    request: web.Request, call: Call, behaviour: Behaviour
) -> web.StreamResponse:
    """Announce two gigabytes and begin to send them."""
    response = await _start(request, content_length=_ENDLESS_BYTES)
    await response.write(b" " * 65_536)
    await asyncio.Event().wait()
    return response


async def _endless(
    request: web.Request, call: Call, behaviour: Behaviour
) -> web.StreamResponse:
    """Send chunk after chunk until the reader closes."""
    response = await _start(request)
    while True:
        await response.write(b" " * 65_536)


async def _gzip_bomb(
    request: web.Request, call: Call, behaviour: Behaviour
) -> web.StreamResponse:
    """Send 64 KB that inflate to 64 MiB, without being asked for gzip."""
    response = await _start(request, encoding="gzip")
    # 16 more window bits ask zlib for the gzip format.
    compressor = zlib.compressobj(9, wbits=16 + zlib.MAX_WBITS)
    for _ in range(64):
        await response.write(compressor.compress(b" " * (1 << 20)))
    await response.write(compressor.flush())
    return response


async def _drip(
    request: web.Request, call: Call, behaviour: Behaviour
) -> web.StreamResponse:
    """Send a byte a second."""
    response = await _start(request, content_length=100_000)
    while True:
        await response.write(b" ")
        await asyncio.sleep(1)


async def _never(
    request: web.Request, call: Call, behaviour: Behaviour
) -> web.StreamResponse:
    """Read the request and never answer."""
    await asyncio.Event().wait()
    return web.Response()


async def _start(
    request: web.Request, *, content_length: int | None = None, encoding: str = ""
) -> web.StreamResponse:
    """Send the head of a 200; without a length the body is chunked."""
    response = web.StreamResponse(headers={"Content-Type": "application/json"})
    if encoding:
        response.headers["Content-Encoding"] = encoding
    if content_length is None:
        response.enable_chunked_encoding()
    else:
        response.content_length = content_length
    await response.prepare(request)
    return response


def _cut(request: web.Request, response: web.StreamResponse) -> web.StreamResponse:
    """Close the connection in order, whatever was announced."""
    if request.transport is not None:
        request.transport.close()
    return response


def _reset(request: web.Request) -> None:
    """Make the kernel send RST rather than FIN."""
    transport = request.transport
    assert transport is not None
    linger = struct.pack("ii", 1, 0)
    transport.get_extra_info("socket").setsockopt(
        socket.SOL_SOCKET, socket.SO_LINGER, linger
    )
    transport.abort()


FAULTS: dict[str, Mode] = {
    "short_body": _short_body,
    "reset_before_headers": _reset_before_headers,
    "reset_in_body": _reset_in_body,
    "huge_length": _huge_length,
    "endless": _endless,
    "gzip_bomb": _gzip_bomb,
    "drip": _drip,
    "never": _never,
}
