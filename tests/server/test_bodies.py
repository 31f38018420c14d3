from __future__ import annotations

import asyncio
import socket
from contextlib import aclosing
from typing import TYPE_CHECKING, cast

import pytest
import uvloop
from aiohttp import ClientPayloadError, ClientSession, web

from app.errors import StorageUnavailable
from app.server.bodies import AT_ONCE_BYTES, SLICE_BYTES, send_bytes, send_stream
from tests.server.frame import Frame, framed, get, wire
from tests.until import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine

SMALL = b"a lighthouse in a storm "
LARGE = SMALL * 50_000
HUGE_BYTES = 64 * 1024 * 1024

both_loops = pytest.mark.parametrize(
    "loop_factory",
    [asyncio.new_event_loop, uvloop.new_event_loop],
    ids=["asyncio", "uvloop"],
)


def run_on(
    loop_factory: Callable[[], asyncio.AbstractEventLoop],
    scenario: Callable[[], Coroutine[None, None, None]],
) -> None:
    """Run *scenario* on a loop of this kind, within half a minute."""
    with asyncio.Runner(loop_factory=loop_factory) as runner:
        runner.run(asyncio.wait_for(scenario(), 30))


async def chunks_of(data: bytes, size: int = 50_000) -> AsyncIterator[bytes]:
    """Yield *data* in pieces."""
    for at in range(0, len(data), size):
        yield data[at : at + size]


async def small(request: web.Request) -> web.StreamResponse:
    """Send a small picture from memory."""
    return await send_bytes(request, {"Content-Type": "image/png"}, SMALL)


async def large(request: web.Request) -> web.StreamResponse:
    """Send a large picture from memory."""
    return await send_bytes(request, {"Content-Type": "image/png"}, LARGE)


async def part(request: web.Request) -> web.StreamResponse:
    """Send a range of a picture from memory."""
    view = memoryview(LARGE)[10 : 10 + AT_ONCE_BYTES]
    return await send_bytes(request, {"Content-Type": "image/png"}, view, 206)


async def streamed(request: web.Request) -> web.StreamResponse:
    """Send a large picture from a store."""
    headers = {"Content-Type": "image/png"}
    async with aclosing(chunks_of(LARGE)) as chunks:  # type: ignore[type-var]
        return await send_stream(request, headers, chunks, len(LARGE))


def streaming(source: AsyncIterator[bytes], length: int) -> web.RouteDef:
    """Return a route that sends *source* as a body of *length* bytes."""

    async def handler(request: web.Request) -> web.StreamResponse:
        return await send_stream(request, {}, source, length)

    return web.get("/", handler, allow_head=False)


PICTURES = [
    (small, 200, SMALL),
    (large, 200, LARGE),
    (part, 206, LARGE[10 : 10 + AT_ONCE_BYTES]),
    (streamed, 200, LARGE),
]


@both_loops
@pytest.mark.parametrize(
    ("handler", "status", "expected"),
    PICTURES,
    ids=["small", "large", "part", "stream"],
)
def test_a_picture_arrives_whole(
    handler: Callable[[web.Request], Coroutine[None, None, web.StreamResponse]],
    status: int,
    expected: bytes,
    loop_factory: Callable[[], asyncio.AbstractEventLoop],
) -> None:
    """GET returns exactly the bytes, and HEAD their length without a body."""

    async def scenario() -> None:
        async with (
            framed(
                web.get("/", handler, allow_head=False), web.head("/", handler)
            ) as frame,
            wire(frame.port) as line,
        ):
            await line.send(get("/", method="HEAD") + get("/"))
            head = await line.answer(to_head=True)
            answer = await line.answer()
            again = await line.ask(get("/"))

        assert head.status == answer.status == status
        assert head.headers["content-length"] == str(len(expected))
        assert {**answer.headers, "x-request-id": ""} == {
            **head.headers,
            "x-request-id": "",
            "date": answer.headers["date"],
        }
        assert answer.body == again.body == expected

    run_on(loop_factory, scenario)


async def test_head_reads_nothing_from_the_store() -> None:
    """HEAD has the length without reading the store."""

    async def untouched() -> AsyncIterator[bytes]:
        """Fail if it is read."""
        raise AssertionError
        yield b""

    async def handler(request: web.Request) -> web.StreamResponse:
        """Send a source that must not be read."""
        return await send_stream(request, {}, untouched(), 10)

    async with framed(web.head("/", handler)) as frame, wire(frame.port) as line:
        await line.send(get("/", method="HEAD"))
        answer = await line.answer(to_head=True)

    assert (answer.status, answer.headers["content-length"]) == (200, "10")


async def breaking(sound: int, then: Exception | None = None) -> AsyncIterator[bytes]:
    """Yield *sound* bytes, then fail or end."""
    for at in range(0, sound, 100):
        yield b"x" * min(100, sound - at)
    if then is not None:
        raise then


@both_loops
@pytest.mark.parametrize(
    "source",
    [
        lambda: breaking(900),
        lambda: breaking(0),
        lambda: breaking(1001),
        lambda: breaking(1100),
        lambda: breaking(500, StorageUnavailable("The store is unavailable.")),
        lambda: breaking(1000, StorageUnavailable("The digest is wrong.")),
    ],
    ids=["short", "empty", "a byte more", "a chunk more", "broken", "found wrong"],
)
def test_a_picture_that_is_not_whole_is_never_a_whole_answer(
    source: Callable[[], AsyncIterator[bytes]],
    loop_factory: Callable[[], asyncio.AbstractEventLoop],
) -> None:
    """A body that ends early cuts the connection and counts in a metric."""

    async def scenario() -> None:
        async with (
            framed(streaming(source(), 1000)) as frame,
            ClientSession() as session,
            session.get(frame.url("/")) as response,
        ):
            assert response.status == 200
            with pytest.raises(ClientPayloadError):
                await response.read()
            assert frame.count("paintonce_cut_bodies_total", reason="short") == 1

    run_on(loop_factory, scenario)


async def test_a_store_that_is_away_from_the_start_is_an_honest_503() -> None:
    """A store that fails before its first byte is a 503."""
    source = breaking(0, StorageUnavailable("The object store is unavailable."))
    async with framed(streaming(source, 1000)) as frame, wire(frame.port) as line:
        answer = await line.ask(get("/"))

    assert answer.status == 503
    assert answer.problem["code"] == "storage_unavailable"


class Endless:
    """A large picture in a store, which counts how much of it was read."""

    def __init__(self) -> None:
        self.bytes_read = 0
        self.transport: asyncio.Transport | None = None

    async def chunks(self) -> AsyncIterator[bytes]:
        """Yield 64 MiB."""
        chunk = bytes(SLICE_BYTES)
        while self.bytes_read < HUGE_BYTES:
            self.bytes_read += len(chunk)
            yield chunk

    async def stream(self, request: web.Request) -> web.StreamResponse:
        """Send the picture from the store."""
        self.transport = request.transport
        async with aclosing(self.chunks()) as chunks:  # type: ignore[type-var]
            return await send_stream(request, {}, chunks, HUGE_BYTES)

    async def from_memory(self, request: web.Request) -> web.StreamResponse:
        """Send the picture from memory."""
        self.transport = request.transport
        return await send_bytes(request, {}, bytes(HUGE_BYTES))

    async def stalled(self) -> asyncio.Transport:
        """Return the transport once its reader takes no more bytes."""
        await until(lambda: self.transport is not None)
        transport = cast("asyncio.Transport", self.transport)
        await until(lambda: transport.get_write_buffer_size() > 0)
        return transport


def lazy_reader(frame: Frame) -> socket.socket:
    """Request a picture on a socket with a small buffer."""
    lazy = socket.socket()
    lazy.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)
    lazy.connect(("127.0.0.1", frame.port))
    lazy.sendall(get("/huge"))
    return lazy


@both_loops
@pytest.mark.parametrize("kept", ["stream", "from_memory"])
def test_a_stalled_reader_is_cut_and_delays_no_other(
    kept: str, loop_factory: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    """A stalled reader holds under 256 KiB, is cut at the deadline, and delays none."""

    async def scenario() -> None:
        huge = Endless()
        routes = web.get("/huge", getattr(huge, kept)), web.get("/", small)
        async with framed(*routes, write_deadline_seconds=0.5) as frame:
            with lazy_reader(frame):
                transport = await huge.stalled()
                async with wire(frame.port) as line:
                    assert (await line.ask(get("/"))).body == SMALL
                assert 0 < transport.get_write_buffer_size() < AT_ONCE_BYTES
                assert huge.bytes_read < HUGE_BYTES
                await until(transport.is_closing)
                await frame.lifecycle.finish()
            assert frame.count("paintonce_cut_bodies_total", reason="stalled") == 1

    run_on(loop_factory, scenario)


@both_loops
def test_a_slow_reader_that_keeps_reading_gets_everything(
    loop_factory: Callable[[], asyncio.AbstractEventLoop],
) -> None:
    """A slow reader gets the whole picture, as each slice has its own deadline."""

    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        huge = Endless()
        deadline = 0.2
        routes = web.get("/huge", huge.stream)
        async with framed(routes, write_deadline_seconds=deadline) as frame:
            with lazy_reader(frame) as lazy:
                lazy.setblocking(False)  # noqa: FBT003 - the socket's own signature
                began, received = loop.time(), 0
                while received < HUGE_BYTES:
                    data = await loop.sock_recv(lazy, 1 << 20)
                    assert data
                    received += len(data)
                    if loop.time() - began < 3 * deadline:
                        # Slower than the network, faster than the deadline.
                        await asyncio.sleep(deadline / 50)
                assert loop.time() - began > 2 * deadline
            assert frame.count("paintonce_cut_bodies_total", reason="stalled") == 0

    run_on(loop_factory, scenario)


async def test_a_reader_that_stalls_after_its_answer_was_written_is_cut() -> None:
    """A reader that stalls in the last slice is cut."""

    async def plain(request: web.Request) -> web.Response:
        """Answer with a body that no kernel buffers whole."""
        huge.transport = request.transport
        return web.Response(body=bytes(HUGE_BYTES))

    huge = Endless()
    async with framed(web.get("/huge", plain), write_deadline_seconds=0.2) as frame:
        with lazy_reader(frame):
            transport = await huge.stalled()
            await until(transport.is_closing)
        assert frame.count("paintonce_cut_bodies_total", reason="stalled") == 1
