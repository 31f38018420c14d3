"""The contract of object stores: a folder, S3 servers and the fake."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack, asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from app.errors import StorageUnavailable
from app.storage.filesystem.store import FilesystemObjectStore
from app.storage.ports.object_store import ByteRange, PlaceMissing
from app.storage.s3 import open_s3_object_store
from app.storage.store_proof import Verdict, prove
from tests.fakes import InMemoryObjectStore
from tests.other_stores import store_server
from tests.until import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from contextlib import AbstractAsyncContextManager

    from app.storage.ports.object_store import ObjectStore
    from tests.servers import S3Server

    OpenStore = Callable[[], AbstractAsyncContextManager[ObjectStore]]

LIGHTHOUSE = "acme/shop/generated/a-lighthouse.png"
MANIFEST = "acme/shop/prompts/a-lighthouse-in-a-storm.json"
PNG = "image/png"
JSON = "application/json"
CREATORS = 16
# The contract is about who wins, also on a machine that is busy for seconds.
PATIENCE_SECONDS = 60.0

# More than any store serves at once.
READERS = 300


def _opened(
    bucket: str, *, signed_urls: bool = True
) -> AbstractAsyncContextManager[ObjectStore]:
    return open_s3_object_store(
        bucket=bucket, signed_urls=signed_urls, write_timeout_seconds=PATIENCE_SECONDS
    )


@pytest.fixture
def filesystem(tmp_path_factory: pytest.TempPathFactory) -> OpenStore:
    """Open the store in a folder that is not there yet."""
    root = tmp_path_factory.mktemp("pictures") / "var"

    @asynccontextmanager
    async def open_store() -> AsyncIterator[ObjectStore]:
        yield FilesystemObjectStore(root)

    return open_store


@pytest.fixture
def s3_signed_urls(bucket: str) -> OpenStore:
    """Open the store in a new bucket, reading by signed URLs."""
    return lambda: _opened(bucket)


@pytest.fixture
def s3_get_object(bucket: str) -> OpenStore:
    """Open the store in a new bucket, reading by botocore's own call."""
    return lambda: _opened(bucket, signed_urls=False)


@pytest.fixture
def in_memory() -> OpenStore:
    """Open the fake of the tests, which has not been made yet."""
    made = InMemoryObjectStore(is_made=False)

    @asynccontextmanager
    async def open_store() -> AsyncIterator[ObjectStore]:
        yield made

    return open_store


@pytest.fixture(scope="session")
def other_stores(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OtherStores]:
    """Give the other S3 servers, each started at its first use."""
    with ExitStack() as stack:
        yield OtherStores(stack, tmp_path_factory)


class OtherStores:
    """The S3 servers beside MinIO, by name."""

    def __init__(self, stack: ExitStack, folders: pytest.TempPathFactory) -> None:
        self._stack = stack
        self._folders = folders
        self._running: dict[str, S3Server] = {}

    def get(self, name: str) -> S3Server:
        """Return the server *name*, starting it the first time."""
        if name not in self._running:
            opened = store_server(name, self._folders.mktemp(name))
            self._running[name] = self._stack.enter_context(opened)
        return self._running[name]


@pytest.fixture
def versitygw(
    other_stores: OtherStores, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> OpenStore:
    """Open the store in a new bucket of versitygw."""
    return _at(other_stores.get("versitygw"), bucket, monkeypatch)


@pytest.fixture
def seaweedfs(
    other_stores: OtherStores, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> OpenStore:
    """Open the store in a new bucket of SeaweedFS."""
    return _at(other_stores.get("seaweedfs"), bucket, monkeypatch)


def _at(server: S3Server, bucket: str, monkeypatch: pytest.MonkeyPatch) -> OpenStore:
    for name, value in server.environment().items():
        monkeypatch.setenv(name, value)
    return lambda: _opened(bucket)


@pytest.fixture(
    params=[
        *("in_memory", "filesystem", "s3_signed_urls", "s3_get_object", "versitygw"),
        pytest.param("seaweedfs", marks=pytest.mark.long),
    ]
)
def open_store(request: pytest.FixtureRequest) -> OpenStore:
    """Return a function that opens the store; each call opens the same one."""
    opener: OpenStore = request.getfixturevalue(request.param)
    return opener


@pytest.fixture
async def store(open_store: OpenStore) -> AsyncIterator[ObjectStore]:
    """Give a store that is ready."""
    async with open_store() as opened:

        async def is_made() -> bool:
            # A server that has just been started may be slower than a call may take.
            try:
                await opened.make()
            except StorageUnavailable:
                return False
            return True

        await until(is_made)
        yield opened


async def read(
    store: ObjectStore, key: str, byte_range: ByteRange | None = None
) -> bytes | None:
    """Read an object as the API streams it."""
    async with store.open(key, byte_range) as body:
        if body is None:
            return None
        data = b"".join([chunk async for chunk in body.chunks()])
        assert body.size == len(data)
        return data


async def listed(store: ObjectStore, prefix: str, *, after: str = "") -> list[str]:
    """Return the keys of a listing."""
    return [line.key async for line in store.list(prefix, after=after)]


async def test_what_is_put_can_be_read(store: ObjectStore) -> None:
    """An object is read with its bytes, type and metadata."""
    metadata = {"sha256": "c0ffee", "created-at": "2031-05-04T03:02:01+00:00"}
    await store.put(
        LIGHTHOUSE, b"a lighthouse in a storm", media_type=PNG, metadata=metadata
    )

    async with store.open(LIGHTHOUSE) as body:
        assert body is not None
        assert body.media_type == PNG
        assert dict(body.metadata) == metadata
        assert body.size == 23
    assert await read(store, LIGHTHOUSE) == b"a lighthouse in a storm"


async def test_a_put_replaces(store: ObjectStore) -> None:
    """A put replaces the object and changes its tag."""
    first = await store.put(LIGHTHOUSE, b"a lighthouse", media_type=PNG)
    second = await store.put(LIGHTHOUSE, b"a lighthouse at night", media_type=PNG)

    stored = await store.get(LIGHTHOUSE)
    assert stored is not None
    assert stored.data == b"a lighthouse at night"
    assert stored.etag == second != first


async def test_a_small_object_comes_whole_with_its_tag(store: ObjectStore) -> None:
    """A read returns the tag that the write returned."""
    etag = await store.create(MANIFEST, b'{"image": 1}', media_type=JSON)

    stored = await store.get(MANIFEST)
    assert stored is not None
    assert (stored.data, stored.etag) == (b'{"image": 1}', etag)


async def test_an_empty_object_is_an_object(store: ObjectStore) -> None:
    """An empty object exists and is read as no bytes."""
    await store.put(LIGHTHOUSE, b"", media_type=PNG)

    assert await read(store, LIGHTHOUSE) == b""
    assert await store.exists(LIGHTHOUSE)
    stored = await store.get(LIGHTHOUSE)
    assert stored is not None
    assert stored.data == b""


async def test_what_was_never_put_is_not_there(store: ObjectStore) -> None:
    """A missing key is None, not an error."""
    assert await store.get(MANIFEST) is None
    assert await read(store, LIGHTHOUSE) is None
    assert await read(store, LIGHTHOUSE, ByteRange(0, 3)) is None
    assert not await store.exists(LIGHTHOUSE)


async def test_a_folder_of_objects_is_no_object(store: ObjectStore) -> None:
    """A prefix of a key is no object, and neither is a key below an object."""
    await store.put(LIGHTHOUSE, b"a lighthouse", media_type=PNG)

    assert await read(store, "acme/shop/generated") is None
    assert await read(store, f"{LIGHTHOUSE}/window") is None


async def test_deleting_is_idempotent(store: ObjectStore) -> None:
    """Deleting a missing object succeeds."""
    await store.put(LIGHTHOUSE, b"a lighthouse", media_type=PNG)
    await store.delete(LIGHTHOUSE)
    await store.delete(LIGHTHOUSE)
    await store.delete(MANIFEST)

    assert await store.get(LIGHTHOUSE) is None


async def one_has_won(
    store: ObjectStore, paintings: list[bytes], etags: list[str | None]
) -> None:
    """Assert that one of concurrent writers got a tag, and that its bytes are kept."""
    winners = [at for at, etag in enumerate(etags) if etag is not None]
    stored = await store.get(MANIFEST)
    assert len(winners) == 1
    assert stored is not None
    assert (stored.data, stored.etag) == (paintings[winners[0]], etags[winners[0]])


async def test_exactly_one_of_many_creators_wins(store: ObjectStore) -> None:
    """Exactly one of sixteen concurrent creates succeeds, and its bytes stay."""
    paintings = [f"painting {number}".encode() for number in range(CREATORS)]

    etags = await asyncio.gather(
        *(store.create(MANIFEST, data, media_type=JSON) for data in paintings)
    )

    await one_has_won(store, paintings, etags)


async def test_a_key_is_free_again_after_a_deletion(store: ObjectStore) -> None:
    """A deleted key can be created again."""
    await store.create(MANIFEST, b"first", media_type=JSON)
    assert await store.create(MANIFEST, b"second", media_type=JSON) is None
    await store.delete(MANIFEST)

    assert await store.create(MANIFEST, b"third", media_type=JSON) is not None


async def test_exactly_one_of_many_replacements_wins(store: ObjectStore) -> None:
    """Exactly one of sixteen concurrent replacements succeeds."""
    etag = await store.create(MANIFEST, b"the old one", media_type=JSON)
    assert etag is not None
    paintings = [f"painting {number}".encode() for number in range(CREATORS)]

    etags = await asyncio.gather(
        *(
            store.replace(MANIFEST, data, etag=etag, media_type=JSON)
            for data in paintings
        )
    )

    await one_has_won(store, paintings, etags)


async def test_a_stale_tag_replaces_nothing(store: ObjectStore) -> None:
    """A replacement with an outdated tag changes nothing."""
    etag = await store.create(MANIFEST, b"the old one", media_type=JSON)
    assert etag is not None
    assert await store.replace(MANIFEST, b"the new one", etag=etag, media_type=JSON)

    assert (
        await store.replace(MANIFEST, b"a late one", etag=etag, media_type=JSON) is None
    )
    stored = await store.get(MANIFEST)
    assert stored is not None
    assert stored.data == b"the new one"


async def test_what_is_gone_is_not_replaced(store: ObjectStore) -> None:
    """A replacement of a deleted object changes nothing."""
    etag = await store.create(MANIFEST, b"the old one", media_type=JSON)
    assert etag is not None
    await store.delete(MANIFEST)

    assert await store.replace(MANIFEST, b"new", etag=etag, media_type=JSON) is None
    assert await store.get(MANIFEST) is None


async def test_a_range_is_its_bytes(store: ObjectStore) -> None:
    """A range returns exactly its bytes, both ends included, and their number."""
    await store.put(LIGHTHOUSE, b"a lighthouse", media_type=PNG)

    assert await read(store, LIGHTHOUSE, ByteRange(0, 0)) == b"a"
    assert await read(store, LIGHTHOUSE, ByteRange(2, 6)) == b"light"
    assert await read(store, LIGHTHOUSE, ByteRange(11, 11)) == b"e"
    assert await read(store, LIGHTHOUSE, ByteRange(0, 11)) == b"a lighthouse"


async def test_a_range_beyond_the_end_is_an_error(store: ObjectStore) -> None:
    """A range that reaches beyond the object raises."""
    await store.put(LIGHTHOUSE, b"a lighthouse", media_type=PNG)

    for first, last in ((0, 12), (11, 12), (12, 12), (5, 4)):
        with pytest.raises(ValueError, match="range"):
            await read(store, LIGHTHOUSE, ByteRange(first, last))


async def test_a_large_object_comes_in_pieces(store: ObjectStore) -> None:
    """An object of five megabytes is streamed in chunks."""
    data = bytes(range(256)) * 20_000
    await store.put(LIGHTHOUSE, data, media_type=PNG)

    async with store.open(LIGHTHOUSE) as body:
        assert body is not None
        chunks = [chunk async for chunk in body.chunks()]

    assert b"".join(chunks) == data
    assert 5 < len(chunks) < 500


async def test_keys_are_listed_in_order(store: ObjectStore) -> None:
    """A listing has every key with the prefix in order of the whole keys."""
    # `-` sorts before `/`: folder by folder would be another order.
    keys = ["acme/shop-2/b", "acme/shop/prompts/b", "acme/shop/prompts/a", "zoo/a"]
    for key in keys:
        await store.put(key, key.encode(), media_type=JSON)

    assert await listed(store, "") == sorted(keys)
    assert await listed(store, "acme/shop") == sorted(keys)[:3]
    lines = [line async for line in store.list("acme/shop/prompts/")]
    assert [(line.key, line.size) for line in lines] == [
        ("acme/shop/prompts/a", 19),
        ("acme/shop/prompts/b", 19),
    ]
    # S3 gives whole seconds, and its clock may be another one.
    age = datetime.now(UTC) - lines[0].modified_at
    assert abs(age) < timedelta(minutes=1)
    assert await listed(store, "acme/nowhere/") == []


async def test_a_listing_can_be_resumed(store: ObjectStore) -> None:
    """A listing resumes after a given key, whether it exists or not."""
    for name in "abcd":
        await store.put(f"acme/shop/{name}", b"", media_type=JSON)

    assert await listed(store, "acme/shop/", after="acme/shop/b") == [
        "acme/shop/c",
        "acme/shop/d",
    ]
    assert await listed(store, "acme/shop/", after="acme/shop/bb") == [
        "acme/shop/c",
        "acme/shop/d",
    ]


@pytest.mark.long
async def test_a_listing_has_more_than_a_page(store: ObjectStore) -> None:
    """A listing goes on beyond S3's page of a thousand objects."""
    keys = [f"acme/shop/prompts/{number:04}" for number in range(1005)]
    for at in range(0, len(keys), 15):
        await asyncio.gather(
            *(store.put(key, b"", media_type=JSON) for key in keys[at : at + 15])
        )

    assert await listed(store, "acme/shop/prompts/") == keys


async def test_keys_that_might_be_another_are_refused(store: ObjectStore) -> None:
    """A key that could leave the store or its project raises."""
    doubtful = ["", "/etc/passwd", "a//b", "a/../b", "../b", "./b", "a/", "a\\b"]
    for key in [*doubtful, "a\0b", "a\nb", "a" * 256, "a/" * 512 + "a"]:
        for call in (
            store.put(key, b"", media_type=PNG),
            store.create(key, b"", media_type=PNG),
            store.replace(key, b"", etag='"1"', media_type=PNG),
            store.get(key),
            read(store, key),
            store.exists(key),
            store.delete(key),
        ):
            with pytest.raises(ValueError, match="a key has"):
                await call


async def test_a_listing_stays_in_the_store(store: ObjectStore) -> None:
    """A prefix that could leave the store raises."""
    for prefix in ("/etc/", "../", "acme/../"):
        with pytest.raises(ValueError, match="a key has"):
            await listed(store, prefix)


async def test_a_store_is_made_once(open_store: OpenStore) -> None:
    """A ping makes no bucket; `make` does, and a second `make` changes nothing."""
    async with open_store() as store, open_store() as another:
        for _ in range(2):
            with pytest.raises(PlaceMissing):
                await store.ping()
        await asyncio.gather(store.make(), another.make())
        await store.put(LIGHTHOUSE, b"a lighthouse", media_type=PNG)
        await another.make()
        await another.ping()

        assert await read(another, LIGHTHOUSE) == b"a lighthouse"


async def test_without_its_place_a_store_is_away(open_store: OpenStore) -> None:
    """Every call to a store whose bucket is gone is an outage."""
    async with open_store() as store:
        for call in (
            store.put(LIGHTHOUSE, b"", media_type=PNG),
            store.create(LIGHTHOUSE, b"", media_type=PNG),
            store.get(LIGHTHOUSE),
            read(store, LIGHTHOUSE),
            store.exists(LIGHTHOUSE),
            store.delete(LIGHTHOUSE),
            listed(store, "acme/shop/"),
        ):
            with pytest.raises(StorageUnavailable):
                await call
        # SeaweedFS calls it a lost race. The loser of a race reads next, and learns it.
        with suppress(StorageUnavailable):
            replaced = store.replace(LIGHTHOUSE, b"", etag='"1"', media_type=PNG)
            assert await replaced is None


async def test_abandoned_bodies_cost_nothing(store: ObjectStore) -> None:
    """Abandoned bodies hold no connection that later readers need."""
    await store.put(LIGHTHOUSE, bytes(1_000_000), media_type=PNG)
    for _ in range(READERS):
        async with store.open(LIGHTHOUSE) as body:
            assert body is not None
            async for _chunk in body.chunks():
                break

    assert await read(store, LIGHTHOUSE) == bytes(1_000_000)


async def test_cancelled_readers_cost_nothing(store: ObjectStore) -> None:
    """Readers cancelled at any moment hold no connection that later ones need."""
    await store.put(LIGHTHOUSE, bytes(1_000_000), media_type=PNG)
    for turns in range(READERS):
        reader = asyncio.create_task(read(store, LIGHTHOUSE))
        for _ in range(turns % 40):
            await asyncio.sleep(0)
        reader.cancel()
        await asyncio.wait([reader])

    assert await read(store, LIGHTHOUSE) == bytes(1_000_000)


async def test_a_readers_own_errors_pass(store: ObjectStore) -> None:
    """An error that the reader itself raises is not turned into an outage."""
    await store.put(LIGHTHOUSE, b"a lighthouse", media_type=PNG)

    with pytest.raises(ConnectionResetError):
        async with store.open(LIGHTHOUSE):
            raise ConnectionResetError


async def test_a_store_proves_that_one_writer_wins(store: ObjectStore) -> None:
    """Each supported store passes the proof, which leaves no object behind."""
    proof = await prove(store)

    assert (proof.verdict, proof.reason) == (Verdict.PROVED, "")
    assert await listed(store, "_system/fence/") == []
