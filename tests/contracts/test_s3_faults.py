"""What becomes of every way in which an S3 server fails: an outage, in time.

Never a picture that is gone, and never a part of one for the whole.
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
    """Take the request, and answer nothing."""
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
    """Send a body that ends with the connection: whether it is whole can't be told."""
    writer.write(head("200 OK", None, Connection="close") + b"a lighthouse")
    await writer.drain()
    writer.close()


async def hang_up(request: Request, writer: asyncio.StreamWriter) -> None:
    """End the connection instead of an answer."""
    writer.close()


async def babble(request: Request, writer: asyncio.StreamWriter) -> None:
    """Answer with something that is no HTTP."""
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
    """Read by signed URLs, or by botocore's own call."""
    return bool(request.param)


@asynccontextmanager
async def store_at(
    endpoint: str,
    *,
    signed_urls: bool = True,
    write_timeout_seconds: float = WRITE_TIMEOUT_SECONDS,
    **environment: str,
) -> AsyncIterator[S3ObjectStore]:
    """Open a store whose writes have a second; empty variables are not set."""
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
    """Check that *call* is an outage, and how long that took."""
    started = time.monotonic()
    with pytest.raises(StorageUnavailable):
        await call
    assert time.monotonic() - started < seconds


@pytest.mark.parametrize("fault", FAULTS)
async def test_a_read_that_fails_is_an_outage(fault: str) -> None:
    """No fault reads as a missing picture or as a shorter one; each is told in time."""
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
    """A store that refuses or says nothing is not ready, and tells of no picture."""
    async with (
        scripted_s3(FAULTS[fault]) as server,
        store_at(server.endpoint) as store,
    ):
        await asyncio.gather(
            fails_in(READ_BOUND_SECONDS, store.exists(LIGHTHOUSE)),
            fails_in(READ_BOUND_SECONDS, store.ping()),
        )


async def test_only_no_such_key_is_gone(*, signed_urls: bool) -> None:
    """The one answer that means a missing picture is S3's own word for it."""
    async with (
        scripted_s3(refusal("404 Not Found", "NoSuchKey")) as server,
        store_at(server.endpoint, signed_urls=signed_urls) as store,
    ):
        assert await read(store) is None
        assert await store.get(MANIFEST) is None
        assert not await store.exists(LIGHTHOUSE)


async def test_a_server_that_is_not_there_is_an_outage(*, signed_urls: bool) -> None:
    """A refused connection is told in time, whatever was asked."""
    async with store_at(
        f"http://127.0.0.1:{free_port()}", signed_urls=signed_urls
    ) as store:
        await asyncio.gather(
            fails_in(READ_BOUND_SECONDS, read(store)),
            fails_in(READ_BOUND_SECONDS, store.ping()),
            fails_in(READ_BOUND_SECONDS, store.put(LIGHTHOUSE, b"", media_type=JSON)),
        )


async def test_a_frozen_store_piles_nobody_up(*, signed_urls: bool) -> None:
    """Of more readers than there are places each is told in time, and none lingers."""
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
    """Where a server sends the whole picture instead, nobody takes it for the range."""
    async with (
        scripted_s3(whole(b"a lighthouse")) as server,
        store_at(server.endpoint, signed_urls=signed_urls) as store,
    ):
        with pytest.raises(ValueError, match="range"):
            async with store.open(LIGHTHOUSE, ByteRange(2, 6)):
                pass


async def test_a_write_that_is_not_answered_is_an_outage() -> None:
    """A store that takes a picture and says nothing is left in time."""
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
    """A store that takes longer for more bytes is not given up for it."""
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
    """A picture is sent at once: a store may withhold `100 Continue` for ever."""
    async with (
        scripted_s3(whole(b"")) as server,
        store_at(server.endpoint) as store,
    ):
        etag = await store.put(LIGHTHOUSE, b"a lighthouse", media_type="image/png")

    assert etag == '"c0ffee"'
    assert [request.body for request in server.requests] == [b"a lighthouse"]


async def test_a_conditional_write_is_sent_once() -> None:
    """A write that would lose to its own repetition is left to the caller to repeat."""
    async with (
        scripted_s3(FAULTS["slow_down"]) as server,
        store_at(server.endpoint) as store,
    ):
        await fails_in(1.0, store.create(MANIFEST, b"{}", media_type=JSON))
        await fails_in(1.0, store.replace(MANIFEST, b"", etag='"1"', media_type=JSON))

    assert len(server.requests) == 2


async def test_a_write_without_a_condition_is_sent_again() -> None:
    """One refusal of a busy store does not lose a picture that was paid for."""

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
    """A conditional write that met another one on its way is decided by a later try."""
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
    """Credentials that nobody configured are an outage, not a crash."""
    async with store_at(
        "http://127.0.0.1:9", AWS_ACCESS_KEY_ID="", AWS_SECRET_ACCESS_KEY=""
    ) as store:
        await fails_in(READ_BOUND_SECONDS, read(store))
        await fails_in(READ_BOUND_SECONDS, store.ping())


async def test_a_proxy_is_passed_through() -> None:
    """Where the environment names a proxy, pictures are read through it, too."""
    async with (
        scripted_s3(whole(b"a lighthouse")) as proxy,
        store_at("http://store.example", HTTP_PROXY=proxy.endpoint) as store,
    ):
        assert await read(store) == b"a lighthouse"

    assert proxy.requests[0].target.startswith("http://store.example/pictures/")


@pytest.fixture
async def wire(s3_server: S3Server) -> AsyncIterator[TcpProxy]:
    """Put a wire that can fail before the real store."""
    async with TcpProxy(int(s3_server.endpoint.rpartition(":")[2])) as proxy:
        yield proxy


@pytest.fixture
async def behind_wire(
    wire: TcpProxy, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[S3ObjectStore]:
    """Open the real store behind the wire, ready and with a picture in it."""
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", f"http://127.0.0.1:{wire.port}")
    async with open_s3_object_store(bucket=bucket) as store:
        await store.make()
        await store.put(LIGHTHOUSE, bytes(SIZE), media_type="image/png")
        yield store


async def test_a_create_whose_reply_is_lost_is_found_by_its_bytes(
    wire: TcpProxy, behind_wire: S3ObjectStore
) -> None:
    """A writer without a reply, or with a conflict, finds its own bytes there."""
    wire.swallow_replies(1, then_cut=True)
    try:
        told = await behind_wire.create(MANIFEST, b'{"generation": 1}', media_type=JSON)
    except StorageUnavailable:
        told = None

    assert told is None
    stored = await behind_wire.get(MANIFEST)
    assert stored is not None
    assert stored.data == b'{"generation": 1}'


async def test_the_store_is_back_as_soon_as_the_network_is(
    wire: TcpProxy, behind_wire: S3ObjectStore
) -> None:
    """Connections that died in an outage are not handed to later reads."""
    await asyncio.gather(*(read(behind_wire) for _ in range(20)))
    await wire.refuse()
    await asyncio.gather(
        *(fails_in(READ_BOUND_SECONDS, read(behind_wire)) for _ in range(20))
    )
    await wire.heal()

    pictures = await asyncio.gather(*(read(behind_wire) for _ in range(20)))
    assert pictures == [bytes(SIZE)] * 20


async def test_a_frozen_network_is_told_in_time(
    wire: TcpProxy, behind_wire: S3ObjectStore
) -> None:
    """Reads on connections that were good a moment ago end in time as well."""
    wire.freeze()
    await fails_in(READ_BOUND_SECONDS, read(behind_wire))
    await wire.heal()

    assert await read(behind_wire) == bytes(SIZE)


async def test_our_own_stall_is_no_outage(behind_wire: S3ObjectStore) -> None:
    """An event loop that stood still reads the answer that waits in the socket."""
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
    """AWS_REGION counts where AWS_DEFAULT_REGION is not set, as for other SDKs."""
    async with store_at(
        "http://127.0.0.1:9", AWS_REGION=other, AWS_DEFAULT_REGION=default
    ) as store:
        assert store._client.meta.region_name == region


async def test_a_wrong_region_is_named() -> None:
    """A bucket elsewhere says where it is, and so does the outage."""

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
