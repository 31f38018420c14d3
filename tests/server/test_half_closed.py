"""Clients that close their sending side and read on, and clients that leave."""

from __future__ import annotations

import asyncio

import pytest
from aiohttp import web

from tests.server.frame import framed, get, wire
from tests.until import until

PICTURE = b"a lighthouse in a storm" * 20_000


class Painting:
    """A route that answers when the test lets it."""

    def __init__(self) -> None:
        self.began = asyncio.Event()
        self.ended = asyncio.Event()
        self.was_left = False

    async def wait(self, _: web.Request) -> web.Response:
        """Answer with a picture."""
        self.began.set()
        try:
            await self.ended.wait()
        except asyncio.CancelledError:
            self.was_left = True
            raise
        return web.Response(body=PICTURE)


async def hello(_: web.Request) -> web.Response:
    """Answer at once."""
    return web.Response(text="hello")


@pytest.mark.parametrize("path", ["/painting", "/no/such/path"])
async def test_a_client_that_half_closes_gets_its_answer(path: str) -> None:
    """A half-closed client gets the whole answer."""
    painting = Painting()
    async with (
        framed(web.get("/painting", painting.wait)) as frame,
        wire(frame.port) as line,
    ):
        await line.send(get(path))
        line.writer.write_eof()
        if path == "/painting":
            await painting.began.wait()
            # The client is seen to be there: the beginning was not reset.
            assert await line.reader.readexactly(7) == b"HTTP/1."
            painting.ended.set()
            first = await line.reader.readline()
            assert first == b"1 200 OK\r\n"
            rest = await line.reader.read()
            assert rest.endswith(b"\r\n\r\n" + PICTURE)
        else:
            assert (await line.answer()).status == 404
        assert await line.is_closed()
    assert not painting.was_left


async def test_pipelined_requests_of_a_half_closed_client_are_answered() -> None:
    """All pipelined requests of a half-closed client are answered."""
    async with (
        framed(web.get("/", hello)) as frame,
        wire(frame.port) as line,
    ):
        await line.send(get("/") * 3)
        line.writer.write_eof()
        answers = [await line.answer() for _ in range(3)]

        assert [answer.body for answer in answers] == [b"hello"] * 3
        assert await line.is_closed()


async def test_a_client_that_leaves_is_noticed() -> None:
    """A closed connection cancels its handler at once."""
    painting = Painting()
    async with (
        framed(web.get("/painting", painting.wait)) as frame,
        wire(frame.port) as line,
    ):
        await line.send(get("/painting"))
        await painting.began.wait()
        line.writer.close()
        await until(lambda: painting.was_left)


@pytest.mark.parametrize(
    "unfinished",
    [b"", b"GET / HT", get("/", "Content-Length: 10", method="POST") + b"12345"],
    ids=["nothing", "a part of a head", "a part of a body"],
)
async def test_a_half_closed_client_that_has_not_asked_is_let_go(
    unfinished: bytes,
) -> None:
    """A half-closed client with half a request is disconnected."""
    async with (
        framed(web.get("/", hello), web.post("/", hello)) as frame,
        wire(frame.port) as line,
    ):
        await line.send(unfinished)
        line.writer.write_eof()
        await line.is_closed()
