"""Requests that readers of large pictures cause at an S3 server."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from random import Random
from typing import TYPE_CHECKING

import pytest

from app.errors import StorageUnavailable
from app.storage.ports.object_store import ByteRange
from app.storage.s3.streaming.windows import SLOW_WINDOW_BYTES, WINDOW_BYTES
from app.storage.s3.timeouts import CallLimit
from tests.contracts.scripted_s3 import ranged, refusal, scripted_s3, whole
from tests.contracts.test_s3_faults import LIGHTHOUSE, read, store_at

if TYPE_CHECKING:
    from app.storage.ports.object_store import ObjectBody
    from tests.contracts.scripted_s3 import Request, Script, ScriptedS3

# More than the kernel takes of an answer without a reader.
PICTURE = Random(7).randbytes(20_000_000)
SOON_SECONDS = 10.0


def ranges(server: ScriptedS3) -> list[str | None]:
    """Return the Range of each request, in order."""
    return [request.headers.get("range") for request in server.requests]


async def first_window(body: ObjectBody | None) -> list[bytes]:
    """Read the first window of *body* and pause, as a slow client does."""
    assert body is not None
    pieces: list[bytes] = []
    chunks = body.chunks()
    while sum(map(len, pieces)) < WINDOW_BYTES:
        pieces.append(await anext(chunks))
    return pieces


async def until_given_up(server: ScriptedS3) -> None:
    """Return when the store's last connection has been closed."""
    async with asyncio.timeout(SOON_SECONDS):
        while server.connections:
            await asyncio.wait(server.connections)


async def test_a_reader_that_keeps_up_asks_once() -> None:
    """A fast reader gets a large picture by a single GET."""
    async with (
        scripted_s3(ranged(PICTURE)) as server,
        store_at(server.endpoint) as store,
    ):
        assert await read(store) == PICTURE

    assert ranges(server) == [None]


async def test_readers_at_the_same_place_share_a_window() -> None:
    """Fifty readers that keep pace share one fetch of each window.

    On a busy machine some may count as slow, and their windows are halves.
    """
    windows, readers = 8, 50
    picture = PICTURE[: windows * WINDOW_BYTES]
    pace = asyncio.Barrier(readers)

    async def keep_pace() -> bytes:
        """Read with the others, window by window."""
        async with store.open(LIGHTHOUSE) as body:
            assert body is not None
            chunks, received = body.chunks(), b""
            while len(received) < len(picture):
                received += await anext(chunks)
                if len(received) % WINDOW_BYTES == 0:
                    await pace.wait()
            return received

    async with (
        scripted_s3(ranged(picture)) as server,
        store_at(server.endpoint) as store,
    ):
        pictures = await asyncio.gather(*(keep_pace() for _ in range(readers)))

    assert pictures == [picture] * readers
    assert len(server.requests) <= 3 * windows


async def test_a_reader_who_comes_after_a_purge_gets_nothing_of_an_older_get() -> None:
    """A reader after a purge finds nothing, even while an older GET still runs."""
    asked, answering = asyncio.Event(), asyncio.Event()

    async def read_before(request: Request, writer: asyncio.StreamWriter) -> None:
        """Answer with the object as it was when the request arrived."""
        server.script = refusal("404 Not Found", "NoSuchKey")
        asked.set()
        await answering.wait()
        await whole(PICTURE[:100])(request, writer)

    async with (
        scripted_s3(read_before) as server,
        store_at(server.endpoint) as store,
    ):
        early = asyncio.create_task(read(store))
        await asked.wait()
        late = asyncio.create_task(read(store))
        await asyncio.sleep(0)
        answering.set()

        assert await early == PICTURE[:100]
        assert await late is None


async def test_a_slow_reader_holds_nothing_at_the_store() -> None:
    """A slow reader's GET is closed, and a new one fetches each next window."""
    async with (
        scripted_s3(ranged(PICTURE)) as server,
        store_at(server.endpoint) as store,
        store.open(LIGHTHOUSE) as body,
    ):
        assert body is not None
        received = b""
        async for chunk in body.chunks():
            received += chunk
            if len(received) == WINDOW_BYTES:
                await until_given_up(server)

    assert received == PICTURE
    end = WINDOW_BYTES + SLOW_WINDOW_BYTES - 1
    assert ranges(server)[:2] == [None, f"bytes={WINDOW_BYTES}-{end}"]


async def test_a_get_that_waits_for_its_reader_gives_way() -> None:
    """A GET that waits for its reader is closed when the slots run out."""
    async with (
        scripted_s3(ranged(PICTURE)) as server,
        store_at(server.endpoint) as store,
    ):
        store._windows._slots = CallLimit(1, waits_seconds=0)
        async with (
            store.open(LIGHTHOUSE) as one,
            store.open("acme/shop/generated/a-storm.png") as other,
        ):
            assert one is not None
            assert other is not None
            assert await first_window(other)


async def test_a_reader_that_leaves_gives_its_get_up() -> None:
    """The GET of a reader that leaves is closed."""
    async with (
        scripted_s3(ranged(PICTURE)) as server,
        store_at(server.endpoint) as store,
    ):
        async with store.open(LIGHTHOUSE) as body:
            assert body is not None
        await until_given_up(server)


@pytest.mark.parametrize("signed_urls", [True, False], ids=["signed", "get_object"])
async def test_a_range_is_read_by_windows(*, signed_urls: bool) -> None:
    """A range that crosses windows has exactly its bytes."""
    wanted = ByteRange(WINDOW_BYTES - 10, 3 * WINDOW_BYTES + 10)
    async with (
        scripted_s3(ranged(PICTURE)) as server,
        store_at(server.endpoint, signed_urls=signed_urls) as store,
        store.open(LIGHTHOUSE, wanted) as body,
    ):
        assert body is not None
        received = b"".join([chunk async for chunk in body.chunks()])

    assert received == PICTURE[wanted.first : wanted.last + 1]
    assert body.size == wanted.length


@pytest.mark.parametrize(
    "then",
    [
        ranged(PICTURE[::-1], etag='"another"'),
        ranged(PICTURE[:-1], etag='"another"'),
        ranged(PICTURE, etag=""),
        whole(PICTURE),
        refusal("404 Not Found", "NoSuchKey"),
        refusal("416 Range Not Satisfiable", "InvalidRange"),
        refusal("503 Slow Down", "SlowDown"),
    ],
    ids=["replaced", "shorter", "no tag", "no range", "deleted", "too short", "away"],
)
async def test_a_picture_is_never_a_mix(then: Script) -> None:
    """A picture replaced under a slow reader ends in an error, never in a mix."""
    async with (
        scripted_s3(ranged(PICTURE)) as server,
        store_at(server.endpoint) as store,
        store.open(LIGHTHOUSE) as body,
    ):
        assert body is not None
        chunks = body.chunks()
        await anext(chunks)
        server.script = then
        await until_given_up(server)

        with pytest.raises(StorageUnavailable):
            [chunk async for chunk in chunks]


async def test_a_purged_picture_is_gone_for_later_readers() -> None:
    """A reader after a purge finds nothing while another still sends the picture."""
    async with (
        AsyncExitStack() as stack,
        scripted_s3(ranged(PICTURE)) as server,
        store_at(server.endpoint) as store,
    ):
        sending = await first_window(
            await stack.enter_async_context(store.open(LIGHTHOUSE))
        )
        server.script = refusal("404 Not Found", "NoSuchKey")

        assert b"".join(sending) == PICTURE[:WINDOW_BYTES]
        assert await read(store) is None
