"""Answers in one write equal those that aiohttp would send."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

import pytest
from aiohttp import web

from app.errors import (
    Forbidden,
    NotAuthenticated,
    NotFound,
    RateLimited,
    ServiceError,
)
from app.http.picture_headers import lines
from app.server import raw_answers
from app.server.raw_answers import RawAnswer, may_be_raw
from tests.server.frame import framed, get, wire
from tests.until import until

PICTURE = b"a lighthouse in a storm " * 2000
FIELDS = {"Content-Type": "image/png", "ETag": '"storm"'}
HEAD = lines({**FIELDS, "Content-Length": str(len(PICTURE))})


async def ready(request: web.Request) -> web.StreamResponse:
    """Send a picture, in one write if possible."""
    if may_be_raw(request):
        return RawAnswer(200, HEAD, PICTURE)
    return web.Response(body=PICTURE, headers=FIELDS)


async def unchanged(_: web.Request) -> web.StreamResponse:
    """Send a 304, in one write if possible."""
    return RawAnswer(304, lines({"ETag": '"storm"'}))


ROUTES = (web.get("/ready", ready), web.get("/unchanged", unchanged))


async def test_where_writelines_does_not_pause_a_writer_it_is_not_used(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Without a safe `writelines` (CVE-2024-12254) head and body are joined."""
    monkeypatch.setattr(raw_answers, "PAUSES_AFTER_WRITELINES", False)
    monkeypatch.setattr(
        "asyncio.selector_events._SelectorSocketTransport.writelines", None
    )
    async with framed(*ROUTES) as frame, wire(frame.port) as line:
        answer = await line.ask(get("/ready"))

    assert (answer.status, answer.body) == (200, PICTURE)


async def test_a_ready_answer_says_what_an_ordinary_one_says() -> None:
    """A prepared answer has the headers of an ordinary one."""
    own = "X-Request-Id: storm-1"
    async with framed(*ROUTES) as frame, wire(frame.port) as client:
        open_ = await client.ask(get("/ready", own))
        closed = await client.ask(get("/ready", own, "Connection: close"))

    assert open_.status == closed.status == 200
    assert open_.body == closed.body == PICTURE
    dates = [parsedate_to_datetime(one.headers.pop("date")) for one in (open_, closed)]
    assert all(datetime.now(UTC) - date < timedelta(minutes=1) for date in dates)
    assert closed.headers.pop("connection") == "close"
    assert open_.headers == closed.headers
    assert open_.headers["x-request-id"] == "storm-1"


@pytest.mark.parametrize("error", [NotAuthenticated, Forbidden, NotFound, RateLimited])
async def test_a_refusal_in_one_write_says_what_an_ordinary_one_says(
    error: type[ServiceError],
) -> None:
    """A refusal in one write has the headers of an ordinary one."""

    async def refuse(_: web.Request) -> web.StreamResponse:
        raise error("Not today.")

    own = "X-Request-Id: storm-1"
    async with framed(web.get("/refuse", refuse)) as frame, wire(frame.port) as client:
        open_ = await client.ask(get("/refuse", own))
        closed = await client.ask(get("/refuse", own, "Connection: close"))

    for answer in (open_, closed):
        del answer.headers["date"]
    assert closed.headers.pop("connection") == "close"
    assert open_ == closed
    assert open_.problem["detail"] == "Not today."


@pytest.mark.parametrize(
    ("request_line", "is_open"),
    [
        (b"GET /ready HTTP/1.1\r\n", True),
        (b"GET /ready HTTP/1.1\r\nConnection: close\r\n", False),
        (b"GET /ready HTTP/1.1\r\nConnection: upgrade\r\nUpgrade: h2c\r\n", True),
        (b"GET /ready HTTP/1.0\r\n", False),
        (b"GET /ready HTTP/1.0\r\nConnection: keep-alive\r\n", True),
    ],
)
async def test_the_connection_ends_as_the_client_wanted(
    request_line: bytes, *, is_open: bool
) -> None:
    """HTTP/1.0 and `Connection: close` end the connection after the answer."""
    async with framed(*ROUTES) as frame, wire(frame.port) as client:
        answer = await client.ask(request_line + b"Host: 127.0.0.1\r\n\r\n")

        assert answer.body == PICTURE
        if is_open:
            again = await client.ask(get("/unchanged"))
            assert again.status == 304
        else:
            assert await client.is_closed()


async def test_pipelined_requests_are_answered_in_order() -> None:
    """Pipelined requests get their answers in order."""
    async with framed(*ROUTES) as frame, wire(frame.port) as client:
        await client.send(get("/ready") + get("/unchanged") + get("/ready"))
        answers = [await client.answer() for _ in range(3)]

    assert [answer.status for answer in answers] == [200, 304, 200]
    assert [answer.body for answer in answers] == [PICTURE, b"", PICTURE]
    assert "content-length" not in answers[1].headers


async def test_a_client_that_left_is_no_failure(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """An answer to a client that left is dropped without a log record."""
    asked, forever = asyncio.Event(), asyncio.Event()

    async def stubborn(_: web.Request) -> web.StreamResponse:
        asked.set()
        with suppress(asyncio.CancelledError):
            await forever.wait()
        return RawAnswer(200, HEAD, PICTURE)

    async with framed(web.get("/stubborn", stubborn)) as frame:
        async with wire(frame.port) as client:
            await client.send(get("/stubborn"))
            await asked.wait()
        labels = {"route": "/stubborn", "method": "GET", "status": "200"}
        await until(lambda: frame.count("paintonce_requests_total", **labels) == 1)

    assert not caplog.records


async def test_a_reader_that_stalls_is_cut() -> None:
    """The write deadline runs for what the kernel has not taken."""
    picture = bytes(16_000_000)
    head = lines({"Content-Length": str(len(picture))})

    async def huge(_: web.Request) -> web.StreamResponse:
        return RawAnswer(200, head, picture)

    async with (
        framed(web.get("/huge", huge), write_deadline_seconds=0.2) as frame,
        wire(frame.port) as client,
    ):
        await client.send(get("/huge"))
        stalled = {"reason": "stalled"}
        await until(lambda: frame.count("paintonce_cut_bodies_total", **stalled) == 1)


@pytest.mark.parametrize("value", ["a\r\nSet-Cookie: b", "a\nb", "a\x00b"])
def test_a_field_never_begins_another(value: str) -> None:
    """A header value with a line break raises."""
    with pytest.raises(ValueError, match="X-Model"):
        lines({"X-Model": value})
