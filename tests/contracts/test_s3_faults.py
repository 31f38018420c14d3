"""Every failure of an S3 server is an outage, raised in time.

It is never taken for a missing picture, nor a part of one for the whole.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from app.errors import StorageUnavailable
from app.storage.ports.object_store import ByteRange
from app.storage.s3 import open_s3_object_store
from tests.contracts.scripted_s3 import Request, head, refusal, scripted_s3, whole
from tests.servers import S3Server, TcpProxy, free_port

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable

    from app.storage.s3 import S3ObjectStore
    from tests.contracts.scripted_s3 import Script

LIGHTHOUSE = "acme/shop/generated/a-lighthouse.png"
MANIFEST = "acme/shop/prompts/a-lighthouse.json"
JSON = "application/json"

# A read ends after a second and a half; two of them in a row would be beyond this.
READ_BOUND_SECONDS = 2.8
WRITE_TIMEOUT_SECONDS = 1.0
SIZE = 1_000_000


async def never(request: Request, writer: asyncio.StreamWriter) -> None:
    """Read the request and never answer."""
    await asyncio.Event().wait()


async def half(request: Request, writer: asyncio.StreamWriter) -> None:
    """End the connection in an orderly way after half of the body."""
    writer.write(head("200 OK", SIZE) + bytes(SIZE // 2))
    await writer.drain()
    writer.close()
    await writer.wait_closed()


async def reset(request: Request, writer: asyncio.StreamWriter) -> None:
    """Reset the connection after half of the body."""
    writer.write(head("200 OK", SIZE) + bytes(SIZE // 2))
    await writer.drain()
    writer.transport.abort()


async def stall(request: Request, writer: asyncio.StreamWriter) -> None:
    """Stop after half of the body; the connection stays open."""
    writer.write(head("200 OK", SIZE) + bytes(SIZE // 2))
    await asyncio.Event().wait()


async def stall_after_head(request: Request, writer: asyncio.StreamWriter) -> None:
    """Stop after the head; the connection stays open."""
    writer.write(head("200 OK", SIZE))
    await asyncio.Event().wait()


async def no_length(request: Request, writer: asyncio.StreamWriter) -> None:
    """Send a body that ends with the connection, so that it may be incomplete."""
    writer.write(head("200 OK", None, Connection="close") + b"a lighthouse")
    await writer.drain()
    writer.close()


async def hang_up(request: Request, writer: asyncio.StreamWriter) -> None:
    """Close the connection without an answer."""
    writer.close()


async def babble(request: Request, writer: asyncio.StreamWriter) -> None:
    """Answer with bytes that are not HTTP."""
    writer.write(b"220 mail.example ESMTP\r\n\r\n")
    await writer.drain()
    writer.close()


FAULTS: dict[str, Script] = {
    "never": never,
    "half": half,
    "reset": reset,
    "stall": stall,
    "stall_after_head": stall_after_head,
    "no_length": no_length,
    "hang_up": hang_up,
    "babble": babble,
    "no_bucket": refusal("404 Not Found", "NoSuchBucket"),
    "somebodys_404": whole(b"<h1>Not found</h1>", status="404 Not Found"),
    "forbidden": refusal("403 Forbidden", "InvalidAccessKeyId"),
    "redirect": refusal("307 Temporary Redirect", "TemporaryRedirect"),
    "slow_down": refusal("503 Slow Down", "SlowDown"),
    "internal_error": refusal("500 Internal Server Error", "InternalError"),
}


@pytest.fixture(params=[True, False], ids=["signed_urls", "get_object"])
def signed_urls(request: pytest.FixtureRequest) -> bool:
    """Read by signed URLs or by botocore's own call."""
    return bool(request.param)


@asynccontextmanager
async def store_at(
    endpoint: str,
    *,
    signed_urls: bool = True,
    write_timeout_seconds: float = WRITE_TIMEOUT_SECONDS,
    **environment: str,
) -> AsyncIterator[S3ObjectStore]:
    """Open a store whose writes may take a second; empty variables are not set."""
    settings = S3Server("scripted", endpoint).environment() | environment
    with pytest.MonkeyPatch.context() as patch:
        for name, value in settings.items():
            patch.setenv(name, value) if value else patch.delenv(name, raising=False)
        async with open_s3_object_store(
            bucket="pictures",
            signed_urls=signed_urls,
            write_timeout_seconds=write_timeout_seconds,
        ) as store:
            yield store


async def read(store: S3ObjectStore, key: str = LIGHTHOUSE) -> bytes | None:
    """Read a whole object as the API streams it."""
    async with store.open(key) as body:
        if body is None:
            return None
        return b"".join([chunk async for chunk in body.chunks()])


async def fails_in(seconds: float, call: Awaitable[object]) -> None:
    """Check that *call* raises an outage within the time."""
    started = time.monotonic()
    with pytest.raises(StorageUnavailable):
        await call
    assert time.monotonic() - started < seconds


@pytest.mark.parametrize("fault", FAULTS)
async def test_a_read_that_fails_is_an_outage(fault: str) -> None:
    """A failed read raises an outage in time, not a missing or shorter picture."""
    async with (
        scripted_s3(FAULTS[fault]) as server,
        store_at(server.endpoint) as signed_urls,
        store_at(server.endpoint, signed_urls=False) as get_object,
    ):
        await asyncio.gather(
            fails_in(READ_BOUND_SECONDS, read(signed_urls)),
            fails_in(READ_BOUND_SECONDS, read(get_object)),
            fails_in(READ_BOUND_SECONDS, signed_urls.get(MANIFEST)),
            fails_in(READ_BOUND_SECONDS, get_object.get(MANIFEST)),
        )


@pytest.mark.parametrize(
    "fault",
    ["never", "hang_up", "no_bucket", "somebodys_404", "forbidden", "slow_down"],
)
async def test_a_look_that_fails_is_an_outage(fault: str) -> None:
    """A failed check for existence raises an outage."""
    async with (
        scripted_s3(FAULTS[fault]) as server,
        store_at(server.endpoint) as store,
    ):
        await asyncio.gather(
            fails_in(READ_BOUND_SECONDS, store.exists(LIGHTHOUSE)),
            fails_in(READ_BOUND_SECONDS, store.ping()),
        )


async def test_only_no_such_key_is_gone(*, signed_urls: bool) -> None:
    """Only NoSuchKey and its 404 count as a missing picture."""
    async with (
        scripted_s3(refusal("404 Not Found", "NoSuchKey")) as server,
        store_at(server.endpoint, signed_urls=signed_urls) as store,
    ):
        assert await read(store) is None
        assert await store.get(MANIFEST) is None
        assert not await store.exists(LIGHTHOUSE)


async def test_a_server_that_is_not_there_is_an_outage(*, signed_urls: bool) -> None:
    """A refused connection is an outage for every call, in time."""
    async with store_at(
        f"http://127.0.0.1:{free_port()}", signed_urls=signed_urls
    ) as store:
        await asyncio.gather(
            fails_in(READ_BOUND_SECONDS, read(store)),
            fails_in(READ_BOUND_SECONDS, store.ping()),
            fails_in(READ_BOUND_SECONDS, store.put(LIGHTHOUSE, b"", media_type=JSON)),
        )


async def test_a_frozen_store_fails_every_reader_in_time(*, signed_urls: bool) -> None:
    """More readers of a frozen store than it has slots all fail in time."""
    async with (
        scripted_s3(never) as server,
        store_at(server.endpoint, signed_urls=signed_urls) as store,
    ):
        await asyncio.gather(
            *(fails_in(READ_BOUND_SECONDS, read(store)) for _ in range(250))
        )
        server.script = whole(b"a lighthouse")

        assert await read(store) == b"a lighthouse"


async def test_a_range_that_is_ignored_is_no_range(*, signed_urls: bool) -> None:
    """A server that ignores the range and sends the whole picture raises."""
    async with (
        scripted_s3(whole(b"a lighthouse")) as server,
        store_at(server.endpoint, signed_urls=signed_urls) as store,
    ):
        with pytest.raises(ValueError, match="range"):
            async with store.open(LIGHTHOUSE, ByteRange(2, 6)):
                pass


async def test_a_write_that_is_not_answered_is_an_outage() -> None:
    """A write that gets no answer is an outage in time."""
    bound_seconds = WRITE_TIMEOUT_SECONDS + 0.5
    async with scripted_s3(never) as server, store_at(server.endpoint) as store:
        await asyncio.gather(
            fails_in(bound_seconds, store.put(LIGHTHOUSE, b"", media_type=JSON)),
            fails_in(bound_seconds, store.create(MANIFEST, b"", media_type=JSON)),
            fails_in(
                bound_seconds,
                store.replace(MANIFEST, b"", etag='"1"', media_type=JSON),
            ),
            fails_in(bound_seconds, store.delete(MANIFEST)),
            fails_in(bound_seconds, anext(store.list("acme/shop/"))),
        )


async def test_a_large_picture_has_a_second_more_for_each_256_kib() -> None:
    """A large write has a second more for each 256 KiB."""
    answers = whole(b"")

    async def late(request: Request, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.3)
        await answers(request, writer)

    async with (
        scripted_s3(late) as server,
        store_at(server.endpoint, write_timeout_seconds=0.05) as store,
    ):
        await store.put(LIGHTHOUSE, bytes(262_144), media_type="image/png")
        await fails_in(0.25, store.put(LIGHTHOUSE, b"", media_type="image/png"))


async def test_no_write_waits_to_be_invited() -> None:
    """A write sends its body without waiting for `100 Continue`."""
    async with (
        scripted_s3(whole(b"")) as server,
        store_at(server.endpoint) as store,
    ):
        etag = await store.put(LIGHTHOUSE, b"a lighthouse", media_type="image/png")

    assert etag == '"c0ffee"'
    assert [request.body for request in server.requests] == [b"a lighthouse"]


async def test_a_conditional_write_is_sent_once() -> None:
    """A conditional write is not repeated, since it would fail on its own success."""
    async with (
        scripted_s3(FAULTS["slow_down"]) as server,
        store_at(server.endpoint) as store,
    ):
        await fails_in(1.0, store.create(MANIFEST, b"{}", media_type=JSON))
        await fails_in(1.0, store.replace(MANIFEST, b"", etag='"1"', media_type=JSON))

    assert len(server.requests) == 2


async def test_a_write_without_a_condition_is_sent_again() -> None:
    """An unconditional write that a busy store refuses is repeated."""

    async def relent(request: Request, writer: asyncio.StreamWriter) -> None:
        """Refuse the first write and take the second."""
        first = len(server.requests) == 1
        await (FAULTS["slow_down"] if first else whole(b""))(request, writer)

    async with (
        scripted_s3(relent) as server,
        # The pause between the two is up to a second.
        store_at(server.endpoint, write_timeout_seconds=5) as store,
    ):
        await store.put(LIGHTHOUSE, b"a lighthouse", media_type="image/png")


async def test_a_conflict_is_sent_again() -> None:
    """A conditional write that got a conflict is repeated, up to a bound."""
    conflict = refusal("409 Conflict", "ConditionalRequestConflict")

    async def settle(request: Request, writer: asyncio.StreamWriter) -> None:
        """Answer the third write."""
        answer = whole(b"") if len(server.requests) == 3 else conflict
        await answer(request, writer)

    async with scripted_s3(settle) as server, store_at(server.endpoint) as store:
        assert await store.create(MANIFEST, b"{}", media_type=JSON) == '"c0ffee"'

        server.script = conflict
        with pytest.raises(StorageUnavailable):
            await store.create(MANIFEST, b"{}", media_type=JSON)


async def test_without_credentials_the_store_is_away() -> None:
    """Missing credentials are an outage, not a crash."""
    async with store_at(
        "http://127.0.0.1:9", AWS_ACCESS_KEY_ID="", AWS_SECRET_ACCESS_KEY=""
    ) as store:
        await fails_in(READ_BOUND_SECONDS, read(store))
        await fails_in(READ_BOUND_SECONDS, store.ping())


async def test_a_proxy_is_passed_through() -> None:
    """Pictures are read through the proxy that the environment names."""
    async with (
        scripted_s3(whole(b"a lighthouse")) as proxy,
        store_at("http://store.example", HTTP_PROXY=proxy.endpoint) as store,
    ):
        assert await read(store) == b"a lighthouse"

    assert proxy.requests[0].target.startswith("http://store.example/pictures/")


@pytest.fixture
async def wire(s3_server: S3Server) -> AsyncIterator[TcpProxy]:
    """Put a wire that can be cut in front of the real store."""
    async with TcpProxy(int(s3_server.endpoint.rpartition(":")[2])) as proxy:
        yield proxy


@pytest.fixture
async def behind_wire(
    wire: TcpProxy, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[S3ObjectStore]:
    """Open the real store through the wire, with a picture in it."""
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", f"http://127.0.0.1:{wire.port}")
    async with open_s3_object_store(bucket=bucket) as store:
        await store.make()
        await store.put(LIGHTHOUSE, bytes(SIZE), media_type="image/png")
        yield store


async def test_a_create_whose_reply_is_lost_is_found_by_its_bytes(
    wire: TcpProxy, behind_wire: S3ObjectStore
) -> None:
    """After a create whose reply was lost, the writer finds its bytes in the store."""
    wire.swallow_replies(1, then_cut=True)
    try:
        etag = await behind_wire.create(MANIFEST, b'{"generation": 1}', media_type=JSON)
    except StorageUnavailable:
        etag = None

    assert etag is None
    stored = await behind_wire.get(MANIFEST)
    assert stored is not None
    assert stored.data == b'{"generation": 1}'


async def test_the_store_is_back_as_soon_as_the_network_is(
    wire: TcpProxy, behind_wire: S3ObjectStore
) -> None:
    """Connections that broke in an outage are not used by later reads."""
    await asyncio.gather(*(read(behind_wire) for _ in range(20)))
    await wire.refuse()
    await asyncio.gather(
        *(fails_in(READ_BOUND_SECONDS, read(behind_wire)) for _ in range(20))
    )
    await wire.heal()

    pictures = await asyncio.gather(*(read(behind_wire) for _ in range(20)))
    assert pictures == [bytes(SIZE)] * 20


async def test_a_frozen_network_fails_reads_in_time(
    wire: TcpProxy, behind_wire: S3ObjectStore
) -> None:
    """Reads on open connections of a frozen network fail in time."""
    wire.freeze()
    await fails_in(READ_BOUND_SECONDS, read(behind_wire))
    await wire.heal()

    assert await read(behind_wire) == bytes(SIZE)


async def test_our_own_stall_is_no_outage(behind_wire: S3ObjectStore) -> None:
    """A stalled event loop reads the answer in its socket, and raises no outage."""
    reading = asyncio.create_task(behind_wire.get(LIGHTHOUSE))
    for _ in range(5):
        await asyncio.sleep(0)
    time.sleep(READ_BOUND_SECONDS)  # noqa: ASYNC251 - it is the stall

    stored = await reading
    assert stored is not None
    assert len(stored.data) == SIZE


@pytest.mark.parametrize(
    ("other", "default", "region"),
    [
        ("eu-central-1", "", "eu-central-1"),
        ("eu-central-1", "eu-west-3", "eu-west-3"),
        ("", "", "us-east-1"),
    ],
)
async def test_the_region_is_that_of_the_environment(
    other: str, default: str, region: str
) -> None:
    """AWS_REGION is used if AWS_DEFAULT_REGION is not set."""
    async with store_at(
        "http://127.0.0.1:9", AWS_REGION=other, AWS_DEFAULT_REGION=default
    ) as store:
        assert store._client.meta.region_name == region


async def test_a_wrong_region_is_named() -> None:
    """An outage for a bucket in another region names that region in its reason."""

    async def elsewhere(request: Request, writer: asyncio.StreamWriter) -> None:
        """Answer as S3 does in another region."""
        writer.write(
            b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n"
            b"x-amz-bucket-region: eu-central-1\r\n\r\n"
        )
        await writer.drain()

    async with scripted_s3(elsewhere) as server, store_at(server.endpoint) as store:
        with pytest.raises(StorageUnavailable) as refused:
            await store.ping()

    assert "eu-central-1, not in us-east-1" in (refused.value.reason or "")
    assert "eu-central-1" not in refused.value.detail
