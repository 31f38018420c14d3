"""HTTP requests that every vendor's adapter sends."""

from __future__ import annotations

import asyncio
import base64
import os
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web
from multidict import CIMultiDict
from yarl import URL

from app.errors import BadImage, CallEnd, ProviderFailed
from app.generation.transport.base64_pictures import decode_base64
from app.generation.transport.documents import parse_json, pick
from app.generation.transport.outbound import ask, open_outbound_session
from app.generation.transport.retry_hints import retry_hint

if TYPE_CHECKING:
    from pytest_aiohttp import AiohttpServer

LIMIT = 1 << 20


async def test_neither_proxies_nor_cookies_are_picked_up(
    aiohttp_server: AiohttpServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Proxies of the environment are not used, and cookies not sent back."""
    cookies: list[str | None] = []

    async def answer(request: web.Request) -> web.Response:
        cookies.append(request.headers.get("Cookie"))
        return web.Response(headers={"Set-Cookie": "visitor=1"})

    app = web.Application()
    app.router.add_post("/", answer)
    server = await aiohttp_server(app)
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    async with open_outbound_session() as session:
        for _ in range(2):
            await ask(
                session, "POST", server.make_url("/"), headers={}, limit_bytes=LIMIT
            )

    assert cookies == [None, None]


async def test_a_redirect_is_an_answer_and_is_not_followed(
    aiohttp_server: AiohttpServer,
) -> None:
    """A redirect is returned and not followed."""

    async def answer(request: web.Request) -> web.Response:
        raise web.HTTPTemporaryRedirect("http://127.0.0.1:9/")

    app = web.Application()
    app.router.add_post("/", answer)
    server = await aiohttp_server(app)
    async with open_outbound_session() as session:
        reply = await ask(
            session, "POST", server.make_url("/"), headers={}, limit_bytes=LIMIT
        )

    assert reply.status == 307


async def test_a_connection_is_never_used_twice(aiohttp_server: AiohttpServer) -> None:
    """Each request has a new connection."""
    ports: set[Any] = set()

    async def answer(request: web.Request) -> web.Response:
        assert request.transport is not None
        ports.add(request.transport.get_extra_info("peername")[1])
        return web.Response()

    app = web.Application()
    app.router.add_post("/", answer)
    server = await aiohttp_server(app)
    async with open_outbound_session() as session:
        for _ in range(3):
            await ask(
                session, "POST", server.make_url("/"), headers={}, limit_bytes=LIMIT
            )

    assert len(ports) == 3


async def test_a_broken_chunk_is_a_cut_connection() -> None:
    """A broken chunk is a failure with an ambiguous end."""

    async def answer(
        reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nnonsense\r\n"
        )
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server, open_outbound_session() as session:
        url = URL(f"http://127.0.0.1:{port}/")
        with pytest.raises(ProviderFailed) as failure:
            await ask(session, "POST", url, headers={}, limit_bytes=LIMIT)

    assert failure.value.end is CallEnd.AMBIGUOUS


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b'{"data": [',
        b"\xff\xfe",
        b"NaN",
        b"[" * 50_000 + b"]" * 50_000,
        b"[" + b"{}," * 200_000 + b"{}]",
    ],
    ids=["empty", "html", "truncated", "no UTF-8", "no number", "deep", "crowded"],
)
def test_whatever_is_no_json_says_nothing(body: bytes) -> None:
    """A body that is not JSON is read as None."""
    assert parse_json(body) is None


@pytest.mark.parametrize(
    ("document", "found"),
    [
        ({"data": [{"b64_json": "eA=="}]}, "eA=="),
        ({"data": []}, None),
        ({"data": {"0": 1}}, None),
        ({"data": "text"}, None),
        (["data"], None),
        (None, None),
        ("data", None),
    ],
)
def test_json_of_another_shape_is_an_absent_value(document: object, found: Any) -> None:
    """`pick` returns None for JSON of another shape."""
    assert pick(document, "data", 0, "b64_json") == found


@pytest.mark.parametrize("size", [1, 2, 3, 100_000, 1_000_001, 3 * 262_144])
async def test_base64_gives_back_what_was_encoded(size: int) -> None:
    """Base64 of any size is decoded, with a prefix or line breaks too."""
    data = os.urandom(size)
    plain = base64.b64encode(data).decode()
    wrapped = "data:image/png;base64," + base64.encodebytes(data).decode()

    assert await decode_base64(plain, limit_bytes=size) == data
    assert await decode_base64(wrapped, limit_bytes=size) == data


@pytest.mark.parametrize("text", ["eA==", "eA=", "eA", "eA==="])
async def test_padding_says_nothing(text: str) -> None:
    """Base64 with cut or missing padding is decoded."""
    assert await decode_base64(text, limit_bytes=1) == b"x"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "!!!!",
        "eA=A",
        "eA==eA==",
        "ä" * 8,
        "data:image/png;base64,",
        "  \n ",
        None,
        7,
        ["eA=="],
        "A" * 262_142 + "==" + "eA==" * 300_000,
    ],
)
async def test_what_is_no_base64_is_no_picture(text: object) -> None:
    """Text that is not base64 is a `BadImage`, wherever the junk is."""
    with pytest.raises(BadImage) as failure:
        await decode_base64(text, limit_bytes=LIMIT)

    assert failure.value.end is CallEnd.BILLED


async def test_a_picture_beyond_the_limit_is_refused() -> None:
    """Base64 of one byte more than the limit is a `BadImage`."""
    with pytest.raises(BadImage):
        await decode_base64(base64.b64encode(b"x" * 101).decode(), limit_bytes=100)


async def test_decoding_a_large_picture_leaves_the_loop_running() -> None:
    """Decoding sixteen megabytes does not block the event loop."""
    text = base64.b64encode(bytes(16 << 20)).decode()
    decoding = asyncio.create_task(decode_base64(text, limit_bytes=16 << 20))
    turns = 0
    while not decoding.done():
        await asyncio.sleep(0)
        turns += 1

    assert len(await decoding) == 16 << 20
    assert turns > 3


NOON = "Sat, 21 Nov 2026 12:00:00 GMT"


@pytest.mark.parametrize(
    ("headers", "document", "seconds"),
    [
        ({"Retry-After": "7"}, None, 7),
        ({"retry-after": "0.5"}, None, 0.5),
        ({"retry-after-ms": "1500", "Retry-After": "7"}, None, 1.5),
        ({"retry-after-ms": "soon", "Retry-After": "7"}, None, 7),
        ({"Retry-After": "Sat, 21 Nov 2026 12:00:30 GMT", "Date": NOON}, None, 30),
        ({"Retry-After": "Sat, 21 Nov 2026 11:59:30 GMT", "Date": NOON}, None, None),
        ({"Retry-After": "Wed, 21 Nov 2096 12:00:00 GMT"}, None, 120),
        ({"Retry-After": "3600"}, None, 120),
        ({"Retry-After": "0"}, None, None),
        ({"Retry-After": "-5"}, None, None),
        ({"Retry-After": "inf"}, None, None),
        ({"Retry-After": "9" * 400}, None, None),
        ({"Retry-After": "after lunch"}, None, None),
        ({}, {"retry_after": 5}, 5),
        ({}, {"retry_after": True}, None),
        ({}, {"error": {"details": [{}, {"retryDelay": "31s"}]}}, 31),
        ({}, {"error": {"details": [{"retryDelay": "0.1s"}]}}, 0.1),
        ({}, {"error": {"details": "none"}}, None),
        ({}, [], None),
    ],
)
def test_the_first_usable_hint_counts(
    headers: dict[str, str], document: object, seconds: float | None
) -> None:
    """The first usable Retry-After hint is taken, within its bound."""
    hint = retry_hint(CIMultiDict(headers), document)

    assert hint == (None if seconds is None else timedelta(seconds=seconds))
