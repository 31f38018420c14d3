"""The store of transient images on a real Redis."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
from redis import Redis

from app.errors import CacheUnavailable
from app.storage.ports.transient_store import Quota, QuotaReached, StoredImage
from app.storage.redis import keys, transient_scripts
from app.storage.redis.client.script import Script
from app.storage.redis.client.traffic import open_redis
from app.storage.redis.transient import RedisTransientStore
from app.storage.redis.transient_scripts import TAKEN_OUT_AT_ONCE
from app.transient_images.sweeper import sweeping
from tests.servers import RedisServer, free_port, redis_server
from tests.transient_images.stores import (
    SHOP,
    fill,
    is_gone,
    keys_left,
    picture,
    placed,
    put,
    store_on,
    used,
)
from tests.until import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
    from pathlib import Path

    from app.storage.redis.client.connection import RedisConnection
    from app.storage.redis.client.traffic import RedisConnections

# RESERVE, SET, SETTLE, CONFIRM.
STEPS_OF_AN_UPLOAD = 4
SOON = timedelta(milliseconds=40)


class Died(BaseException):
    """The process was killed, and runs no command any more."""


@dataclass
class Meddler:
    """Acts at the n-th command of a replica's connections."""

    at: int
    before: Callable[[], Awaitable[None]] | None = None
    after: Callable[[], Awaitable[None]] | None = None
    is_deadly: bool = False
    seen: int = 0

    def on(self, connection: RedisConnection) -> Any:
        """Return *connection* with the meddler in front."""
        return Meddled(connection, self)


@dataclass
class Meddled:
    """A connection with a meddler in front."""

    connection: RedisConnection
    meddler: Meddler
    ran: list[str] = field(default_factory=list)

    async def run(self, *args: Any, **options: Any) -> Any:
        """Run a script, unless the meddler prevents it."""
        return await self._meddled(self.connection.run, *args, **options)

    async def execute(self, *args: Any, **options: Any) -> Any:
        """Send a command, unless the meddler prevents it."""
        return await self._meddled(self.connection.execute, *args, **options)

    async def _meddled(self, call: Any, *args: Any, **options: Any) -> Any:
        meddler = self.meddler
        meddler.seen += 1
        if meddler.is_deadly and meddler.seen > meddler.at:
            raise Died
        if meddler.seen == meddler.at and meddler.before:
            await meddler.before()
        answer = await call(*args, **options)
        if meddler.seen == meddler.at and meddler.after:
            await meddler.after()
        return answer


def meddled_store(
    redis: RedisConnections, meddler: Meddler, **options: Any
) -> RedisTransientStore:
    """Return the store of a replica whose commands are meddled with."""
    return RedisTransientStore(
        commands=meddler.on(redis.commands),
        slices=meddler.on(redis.slices),
        blobs=meddler.on(redis.blobs),
        **options,
    )


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[RedisConnections]:
    """Connect a replica to an empty Redis."""
    async with open_redis(redis_url) as connections:
        yield connections


@pytest.fixture(scope="module")
def own_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """Run a Redis that may be filled."""
    with redis_server(tmp_path_factory.mktemp("full")) as server:
        yield server


@pytest.fixture
async def full_redis(own_server: RedisServer) -> AsyncIterator[RedisConnections]:
    """Connect a replica to an empty Redis that a test may `fill`."""
    async with open_redis(own_server.url) as connections:
        await connections.leases.execute("CONFIG", "SET", "maxmemory", 0)
        await connections.leases.execute("FLUSHALL")
        yield connections


async def test_the_quota_is_exact_under_concurrency(redis_url: str) -> None:
    """Concurrent uploads over two replicas fill the quota exactly."""
    quota = Quota(in_project=1050, in_all=None, pictures=1000)
    async with open_redis(redis_url) as one, open_redis(redis_url) as other:
        stores = [store_on(one), store_on(other)] * 20
        ends = await asyncio.gather(*(put(store, quota=quota) for store in stores))

        assert sum(isinstance(end, StoredImage) for end in ends) == 10
        assert ends.count(QuotaReached.IN_PROJECT) == 30
        assert await used(stores[1]) == 1000


# KEYS of the accounts. ARGV how many pictures of the shop are due at once.
DUE_AT_ONCE = Script.of("""\
#!lua
for n = 1, ARGV[1] do
  local id = 'picture-' .. n
  redis.call('HSET', KEYS[1], id, '10 1 2 image/png acme/shop')
  redis.call('ZADD', KEYS[2], 0, 'acme/shop ' .. id)
  redis.call('ZADD', KEYS[3], 2, id)
  redis.call('HINCRBY', KEYS[4], 'acme/shop', 10)
  redis.call('HINCRBY', KEYS[4], 'total', 10)
end
return 1
""")


async def test_thousands_that_expire_at_once_go_in_batches(
    redis: RedisConnections,
) -> None:
    """Thousands of expired pictures are removed in batches, and never listed."""
    store = store_on(redis)
    everything = 4 * TAKEN_OUT_AT_ONCE + 10
    await redis.leases.run(DUE_AT_ONCE, keys.TRANSIENT_ACCOUNTS, [everything])
    one = await redis.leases.run(
        transient_scripts.INVENTORY, keys.TRANSIENT_ACCOUNTS, [SHOP]
    )
    due = await redis.leases.execute("ZCARD", keys.TRANSIENT_ACCOUNTS[2])

    assert (one, due) == (b"again", everything - TAKEN_OUT_AT_ONCE)
    assert await used(store) == 0
    assert (await store.inventory(SHOP)).images == ()
    while await store.sweep():
        pass
    assert await keys_left(redis) == []


@pytest.mark.parametrize("steps", range(STEPS_OF_AN_UPLOAD))
async def test_a_replica_that_dies_in_an_upload_leaves_nothing(
    redis: RedisConnections, steps: int
) -> None:
    """An upload that dies at any step leaves nothing after the deadline."""
    survivor = store_on(redis)
    dying = meddled_store(redis, Meddler(at=steps, is_deadly=True), finish_within=SOON)
    with pytest.raises(Died):
        await put(dying)
    assert (await survivor.inventory(SHOP)).images == ()

    async def nothing_is_left() -> bool:
        assert await used(survivor) == 0
        await survivor.sweep()
        return await keys_left(redis) == []

    await until(nothing_is_left)


@pytest.mark.parametrize("step", range(1, STEPS_OF_AN_UPLOAD + 1))
async def test_an_upload_whose_reply_is_lost_is_undone(
    redis: RedisConnections, step: int
) -> None:
    """An upload whose reply is lost fails and is undone."""

    async def lose_the_reply() -> None:
        raise CacheUnavailable("The cache is unavailable.")

    store = meddled_store(redis, Meddler(at=step, after=lose_the_reply))
    with pytest.raises(CacheUnavailable):
        await put(store)

    assert await keys_left(redis) == []


@pytest.mark.parametrize("step", range(1, STEPS_OF_AN_UPLOAD + 1))
async def test_an_upload_that_is_cancelled_is_undone(
    redis: RedisConnections, step: int
) -> None:
    """An upload cancelled at any step is undone."""
    reached = asyncio.Event()

    async def wait_for_ever() -> None:
        reached.set()
        await asyncio.Event().wait()

    store = meddled_store(redis, Meddler(at=step, after=wait_for_ever))
    upload = asyncio.create_task(put(store))
    await reached.wait()
    upload.cancel()
    with pytest.raises(asyncio.CancelledError):
        await upload

    assert await keys_left(redis) == []


@pytest.mark.parametrize("step", range(2, STEPS_OF_AN_UPLOAD + 1))
async def test_an_upload_that_stalls_over_its_deadline_is_refused(
    redis: RedisConnections, step: int
) -> None:
    """An upload that stalls beyond its deadline fails and leaves nothing."""
    survivor = store_on(redis)

    async def stall_until_swept() -> None:
        async def is_swept() -> bool:
            return await survivor.sweep() > 0

        await until(is_swept)

    store = meddled_store(
        redis, Meddler(at=step, before=stall_until_swept), finish_within=SOON
    )
    with pytest.raises(CacheUnavailable):
        await put(store)

    assert await keys_left(redis) == []


async def test_a_deletion_that_was_cut_short_is_finished(
    redis: RedisConnections,
) -> None:
    """An interrupted deletion is finished by a repetition or by the sweeper."""
    store = store_on(redis)
    for finish in (store.forget, None):
        stored = await placed(store)
        dying = meddled_store(redis, Meddler(at=1, is_deadly=True))
        with pytest.raises(Died):
            await dying.forget(SHOP, [stored.image_id])
        assert await used(store) == 0

        if finish:
            assert await finish(SHOP, [stored.image_id]) == 0
        else:
            assert await store.sweep() == 1

        assert await store.describe(stored.image_id) is None
        assert await keys_left(redis) == []


async def test_of_concurrent_deletions_one_counts(
    redis: RedisConnections,
) -> None:
    """Of eight concurrent deletions one counts, and the picture is gone."""
    store = store_on(redis)
    for _ in range(5):
        stored = await placed(store)

        async def delete(image_id: str = stored.image_id) -> int:
            deleted = await store.forget(SHOP, [image_id])
            assert await store.describe(image_id) is None
            return deleted

        assert sum(await asyncio.gather(*(delete() for _ in range(8)))) == 1
    assert await keys_left(redis) == []


async def test_many_sweepers_do_no_harm(redis: RedisConnections) -> None:
    """Concurrent sweepers remove exactly what has expired."""
    store = store_on(redis)
    stays = [await placed(store) for _ in range(3)]
    for _ in range(30):
        await placed(store, ttl=timedelta(milliseconds=1))
    every = timedelta(milliseconds=1)

    async with sweeping(store, every=every), sweeping(store, every=every):

        async def only_the_others_are_left() -> bool:
            return len(await keys_left(redis)) == 3 + len(stays)

        await until(only_the_others_are_left)

    assert set((await store.inventory(SHOP)).images) == set(stays)


async def test_the_sweeper_survives_an_outage(tmp_path: Path) -> None:
    """The sweeper goes on after an outage of Redis."""
    with redis_server(tmp_path) as server:
        async with open_redis(server.url) as redis:
            store = store_on(redis)

            async def is_away() -> bool:
                try:
                    await store.sweep()
                except CacheUnavailable:
                    return True
                return False

            async def is_back() -> bool:
                return not await is_away()

            async with sweeping(store, every=timedelta(milliseconds=1)):
                server.stop()
                await until(is_away)
                server.start()
                await until(is_back)
                await placed(store, ttl=SOON)
                await until(lambda: _is_empty(redis))


async def test_a_sweeper_always_comes_to_its_end(redis: RedisConnections) -> None:
    """The sweeper can be stopped at any step."""
    store = store_on(redis)
    for steps in range(100):
        async with asyncio.timeout(5), sweeping(store, every=timedelta(0)):
            for _ in range(steps):
                await asyncio.sleep(0)


async def _is_empty(redis: RedisConnections) -> bool:
    return await keys_left(redis) == []


async def test_a_full_redis_takes_nothing_and_gives_everything(
    full_redis: RedisConnections,
) -> None:
    """Row 9: a full Redis refuses uploads, and serves, deletes and expires."""
    store = store_on(full_redis)
    data = picture(500)
    read, deleted = await placed(store, data=data), await placed(store)
    expiring = await placed(store, ttl=SOON)
    await fill(full_redis)

    assert await put(store) is QuotaReached.IN_CACHE
    assert await store.read(read.image_id, 0, -1) == data
    assert await store.describe(read.image_id) is not None
    assert await store.forget(SHOP, [deleted.image_id]) == 1
    await until(lambda: is_gone(store, expiring))
    assert await used(store) == 500
    assert await store.sweep() == 1
    assert (await store.inventory(SHOP)).images == (read,)
    assert await store.forget(SHOP, [read.image_id]) == 1
    assert await keys_left(full_redis) == []


@pytest.mark.parametrize("step", range(1, STEPS_OF_AN_UPLOAD + 1))
async def test_a_redis_that_fills_up_in_an_upload_refunds_it(
    full_redis: RedisConnections, step: int
) -> None:
    """An upload that fills Redis is refused whole."""
    store = meddled_store(full_redis, Meddler(at=step, before=lambda: fill(full_redis)))

    assert await put(store) is QuotaReached.IN_CACHE
    assert await keys_left(full_redis) == []


async def test_an_outage_is_never_nothing() -> None:
    """Without Redis every call raises `CacheUnavailable`."""
    async with open_redis(f"redis://127.0.0.1:{free_port()}") as redis:
        store = store_on(redis)
        for question in (
            put(store),
            store.describe(str(uuid4())),
            store.read(str(uuid4()), 0, -1),
            store.forget(SHOP, [str(uuid4())]),
            store.inventory(SHOP),
            store.digests(SHOP, [str(uuid4())]),
            store.sweep(),
        ):
            with pytest.raises(CacheUnavailable):
                await question


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[RedisConnections]:
    """Run a Cluster of one node, which refuses scripts over two slots."""
    options = ["--cluster-enabled", "yes", "--cluster-port", str(free_port())]
    with redis_server(tmp_path, args=options) as server:
        with Redis.from_url(server.url) as plain:
            plain.cluster("ADDSLOTSRANGE", 0, 16_383)
            await until(lambda: plain.cluster("INFO")["cluster_state"] == "ok")
        async with open_redis(f"redis+cluster://127.0.0.1:{server.port}") as redis:
            yield redis


async def test_it_works_on_a_cluster(cluster: RedisConnections) -> None:
    """On a Cluster no script crosses slots."""
    store = store_on(cluster)
    kept = [await placed(store, ttl=timedelta(seconds=60)) for _ in range(20)]

    assert await used(store) == 2000
    ids = [image.image_id for image in kept]
    assert (await store.digests(SHOP, ids)).keys() == set(ids)
    assert await store.read(kept[0].image_id, 0, -1) == picture()
    assert await store.forget(SHOP, [image.image_id for image in kept]) == 20
    assert await is_gone(store, kept[0])
    assert await used(store) == 0
    assert await store.sweep() == 0


def test_the_accounts_lie_in_one_slot_and_the_bytes_in_many() -> None:
    """Accounts share one slot, and pictures are spread over many."""
    tags = {key.split("{")[1].split("}")[0] for key in keys.TRANSIENT_ACCOUNTS}

    assert len(tags) == 1
    assert "{lighthouse}" in keys.transient_bytes("lighthouse")
