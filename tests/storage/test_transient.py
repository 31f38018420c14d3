"""The shelf of transient images on a real Redis."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

from app.errors import CacheUnavailable
from app.storage.ports.transient_store import NoRoom, Room, Shelved
from app.storage.redis import keys
from app.storage.redis.client.connection import open_redis
from app.storage.redis.transient import RedisTransientStore
from app.transient_images.sweeper import sweeping
from tests.servers import RedisServer, free_port, redis_server
from tests.transient_images.shelves import fill, keys_left, picture, shelf_on, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
    from pathlib import Path

    from app.storage.redis.client.connection import RedisConnection, RedisConnections

SHOP, STUDIO = "acme/shop", "acme/studio"
PLENTY = Room(in_project=1_000_000, in_all=None, pictures=1000)
# RESERVE, SET, SETTLE, CONFIRM.
STEPS_OF_AN_UPLOAD = 4
SOON = timedelta(milliseconds=40)


class Died(BaseException):
    """The process was killed: no handler of it runs a command any more."""


@dataclass
class Meddler:
    """Stands before a replica's connections and acts at its n-th command."""

    at: int
    before: Callable[[], Awaitable[None]] | None = None
    after: Callable[[], Awaitable[None]] | None = None
    is_deadly: bool = False
    seen: int = 0

    def on(self, connection: RedisConnection) -> Any:
        """Return *connection* with the meddler before it."""
        return Meddled(connection, self)


@dataclass
class Meddled:
    """A connection with a meddler before it."""

    connection: RedisConnection
    meddler: Meddler
    ran: list[str] = field(default_factory=list)

    async def run(self, *args: Any, **options: Any) -> Any:
        """Run a script, unless the meddler is in the way."""
        return await self._meddled(self.connection.run, *args, **options)

    async def execute(self, *args: Any, **options: Any) -> Any:
        """Send a command, unless the meddler is in the way."""
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


def meddled_shelf(
    redis: RedisConnections, meddler: Meddler, **options: Any
) -> RedisTransientStore:
    """Return the shelf of a replica with trouble."""
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
    """Run a Redis that nobody else minds to find full."""
    with redis_server(tmp_path_factory.mktemp("full")) as server:
        yield server


@pytest.fixture
async def full_redis(own_server: RedisServer) -> AsyncIterator[RedisConnections]:
    """Connect a replica to an empty Redis that a test may `fill`."""
    async with open_redis(own_server.url) as connections:
        await connections.leases.execute("CONFIG", "SET", "maxmemory", 0)
        await connections.leases.execute("FLUSHALL")
        yield connections


async def put(
    shelf: RedisTransientStore,
    data: bytes | None = None,
    *,
    project: str = SHOP,
    ttl: timedelta | None = None,
    room: Room = PLENTY,
) -> Shelved | NoRoom:
    """Put a picture on the shelf."""
    return await shelf.put(
        str(uuid4()),
        picture() if data is None else data,
        project=project,
        media_type="image/png",
        ttl=ttl,
        room=room,
    )


async def placed(shelf: RedisTransientStore, **options: Any) -> Shelved:
    """Put a picture on the shelf; there is room."""
    shelved = await put(shelf, **options)
    assert isinstance(shelved, Shelved)
    return shelved


async def taken(shelf: RedisTransientStore, project: str = SHOP) -> int:
    """Return the count of a project, which always is the sum of its list."""
    inventory = await shelf.inventory(project)
    assert inventory.taken_bytes == sum(image.size for image in inventory.images)
    return inventory.taken_bytes


async def test_what_is_put_there_is_read_until_it_is_taken_away(
    redis: RedisConnections,
) -> None:
    """A picture is whole, counted and listed, and afterwards leaves nothing."""
    shelf = shelf_on(redis)
    data = picture(3000, b"storm")
    shelved = await placed(shelf, data=data)

    described = await shelf.describe(shelved.image_id)
    inventory = await shelf.inventory(SHOP)
    part = await shelf.read(shelved.image_id, 10, 1999)

    assert described is not None
    assert (described.size, described.head) == (3000, data[:64])
    assert part == data[10:2000]
    assert inventory.images == (shelved,)
    assert (inventory.taken_bytes, shelved.expires_ms) == (3000, None)
    assert await shelf.forget(SHOP, [shelved.image_id]) == 1
    assert await shelf.describe(shelved.image_id) is None
    assert await shelf.read(shelved.image_id, 0, -1) == b""
    assert await keys_left(redis) == []


async def test_only_the_owner_takes_it_away(redis: RedisConnections) -> None:
    """Foreign and unknown ids look alike, and change nothing."""
    shelf = shelf_on(redis)
    shelved = await placed(shelf)
    others = [shelved.image_id, str(uuid4())]

    assert await shelf.forget(STUDIO, others) == 0
    assert await shelf.forget(SHOP, others, media_type="image/jpeg") == 0
    assert not await shelf.owned(STUDIO, [shelved.image_id])
    assert not await shelf.owned(SHOP, others)
    assert await shelf.owned(SHOP, [shelved.image_id])
    assert await shelf.forget(SHOP, [*others, *others], media_type="image/png") == 1


async def test_a_project_whose_name_begins_like_anothers_has_its_own_list(
    redis: RedisConnections,
) -> None:
    """Lists and counts are of one project exactly."""
    shelf = shelf_on(redis)
    longer = await placed(shelf, project=f"{SHOP}-2")
    shorter = await placed(shelf)

    assert (await shelf.inventory(SHOP)).images == (shorter,)
    assert (await shelf.inventory(f"{SHOP}-2")).images == (longer,)


async def test_the_quota_is_exact_under_concurrency(redis_url: str) -> None:
    """Of many uploads at once, over two replicas, as many fit as fit."""
    room = Room(in_project=1050, in_all=None, pictures=1000)
    async with open_redis(redis_url) as one, open_redis(redis_url) as other:
        shelves = [shelf_on(one), shelf_on(other)] * 20
        ends = await asyncio.gather(*(put(shelf, room=room) for shelf in shelves))

        assert sum(isinstance(end, Shelved) for end in ends) == 10
        assert ends.count(NoRoom.IN_PROJECT) == 30
        assert await taken(shelves[1]) == 1000


async def test_the_quota_over_all_projects_is_exact(redis: RedisConnections) -> None:
    """No project may take what another has; what goes makes room for anybody."""
    shelf = shelf_on(redis)
    room = Room(in_project=1000, in_all=550, pictures=1000)
    projects = [SHOP, STUDIO, "acme/attic"] * 4
    ends = await asyncio.gather(
        *(put(shelf, project=project, room=room) for project in projects)
    )
    kept = [end for end in ends if isinstance(end, Shelved)]

    assert len(kept) == 5
    assert set(ends) - set(kept) == {NoRoom.IN_ALL}
    assert sum([await taken(shelf, project) for project in set(projects)]) == 500
    for project in set(projects):
        await shelf.forget(project, [kept[0].image_id])
    assert isinstance(await put(shelf, project="acme/new", room=room), Shelved)


async def test_the_number_of_pictures_is_bounded(redis: RedisConnections) -> None:
    """Tiny pictures fill the books long before they fill the quota."""
    room = Room(in_project=1_000_000, in_all=None, pictures=2)
    shelf = shelf_on(redis)
    for _ in range(2):
        await placed(shelf, room=room)

    assert await put(shelf, room=room) is NoRoom.IN_COUNT
    assert isinstance(await put(shelf, project=STUDIO, room=room), Shelved)


async def test_an_expired_picture_is_gone_and_refunded_at_once(
    redis: RedisConnections,
) -> None:
    """Without any sweeper, whoever looks first after its time sees neither."""
    shelf = shelf_on(redis)
    stays = await placed(shelf)
    goes = await placed(shelf, ttl=SOON)
    assert goes.expires_ms == goes.created_ms + 40

    async def is_gone() -> bool:
        before = await shelf.inventory(SHOP)
        described = await shelf.describe(goes.image_id)
        after = await shelf.inventory(SHOP)
        if before.images == (stays,):
            assert described is None
        if described is None:
            assert after.images == (stays,)
            assert after.taken_bytes == stays.size
        return described is None

    await until(is_gone)
    assert await shelf.forget(SHOP, [goes.image_id]) == 0


async def test_room_comes_back_in_the_moment_of_expiry(
    redis: RedisConnections,
) -> None:
    """A full project may upload again as soon as a picture's time is up."""
    shelf = shelf_on(redis)
    room = Room(in_project=150, in_all=150, pictures=10)
    first = await placed(shelf, room=room, ttl=SOON)
    assert await put(shelf, room=room) is NoRoom.IN_PROJECT
    await until(lambda: _is_gone(shelf, first))

    assert isinstance(await put(shelf, room=room), Shelved)


async def _is_gone(shelf: RedisTransientStore, image: Shelved) -> bool:
    return await shelf.describe(image.image_id) is None


@pytest.mark.parametrize("steps", range(STEPS_OF_AN_UPLOAD))
async def test_a_replica_that_dies_in_an_upload_leaves_nothing(
    redis: RedisConnections, steps: int
) -> None:
    """Killed after any step: no byte and no count is left after the deadline."""
    survivor = shelf_on(redis)
    dying = meddled_shelf(redis, Meddler(at=steps, is_deadly=True), finish_within=SOON)
    with pytest.raises(Died):
        await put(dying)
    assert (await survivor.inventory(SHOP)).images == ()

    async def nothing_is_left() -> bool:
        assert await taken(survivor) == 0
        await survivor.sweep()
        return await keys_left(redis) == []

    await until(nothing_is_left)


@pytest.mark.parametrize("step", range(1, STEPS_OF_AN_UPLOAD + 1))
async def test_an_upload_whose_reply_is_lost_is_undone(
    redis: RedisConnections, step: int
) -> None:
    """The caller is told that it failed, and that is true."""

    async def lose_the_reply() -> None:
        raise CacheUnavailable("The cache is away.")

    shelf = meddled_shelf(redis, Meddler(at=step, after=lose_the_reply))
    with pytest.raises(CacheUnavailable):
        await put(shelf)

    assert await keys_left(redis) == []


@pytest.mark.parametrize("step", range(1, STEPS_OF_AN_UPLOAD + 1))
async def test_an_upload_that_is_cancelled_is_undone(
    redis: RedisConnections, step: int
) -> None:
    """A caller that goes away leaves nothing behind, whenever it goes."""
    reached = asyncio.Event()

    async def wait_for_ever() -> None:
        reached.set()
        await asyncio.Event().wait()

    shelf = meddled_shelf(redis, Meddler(at=step, after=wait_for_ever))
    upload = asyncio.create_task(put(shelf))
    await reached.wait()
    upload.cancel()
    with pytest.raises(asyncio.CancelledError):
        await upload

    assert await keys_left(redis) == []


@pytest.mark.parametrize("step", range(2, STEPS_OF_AN_UPLOAD + 1))
async def test_an_upload_that_stalls_over_its_deadline_is_refused(
    redis: RedisConnections, step: int
) -> None:
    """Whoever was frozen and comes back late neither leaks nor succeeds."""
    survivor = shelf_on(redis)

    async def stall_until_swept() -> None:
        async def is_swept() -> bool:
            return await survivor.sweep() > 0

        await until(is_swept)

    shelf = meddled_shelf(
        redis, Meddler(at=step, before=stall_until_swept), finish_within=SOON
    )
    with pytest.raises(CacheUnavailable):
        await put(shelf)

    assert await keys_left(redis) == []


async def test_a_deletion_that_was_cut_short_is_finished(
    redis: RedisConnections,
) -> None:
    """The next attempt finishes it at once, else the sweeper does."""
    shelf = shelf_on(redis)
    for finish in (shelf.forget, None):
        shelved = await placed(shelf)
        dying = meddled_shelf(redis, Meddler(at=1, is_deadly=True))
        with pytest.raises(Died):
            await dying.forget(SHOP, [shelved.image_id])
        assert await taken(shelf) == 0

        if finish:
            assert await finish(SHOP, [shelved.image_id]) == 0
        else:
            assert await shelf.sweep() == 1

        assert await shelf.describe(shelved.image_id) is None
        assert await keys_left(redis) == []


async def test_of_deletions_at_once_one_is_told_that_it_deleted(
    redis: RedisConnections,
) -> None:
    """A picture is deleted once, and when any of them is told, it is gone."""
    shelf = shelf_on(redis)
    for _ in range(5):
        shelved = await placed(shelf)

        async def delete(image_id: str = shelved.image_id) -> int:
            deleted = await shelf.forget(SHOP, [image_id])
            assert await shelf.describe(image_id) is None
            return deleted

        assert sum(await asyncio.gather(*(delete() for _ in range(8)))) == 1
    assert await keys_left(redis) == []


async def test_many_sweepers_do_no_harm(redis: RedisConnections) -> None:
    """Replicas that sweep at the same time discard what is due and nothing else."""
    shelf = shelf_on(redis)
    stays = [await placed(shelf) for _ in range(3)]
    for _ in range(30):
        await placed(shelf, ttl=timedelta(milliseconds=1))
    every = timedelta(milliseconds=1)

    async with sweeping(shelf, every=every), sweeping(shelf, every=every):

        async def only_the_others_are_left() -> bool:
            return len(await keys_left(redis)) == 3 + len(stays)

        await until(only_the_others_are_left)

    assert set((await shelf.inventory(SHOP)).images) == set(stays)


async def test_the_sweeper_survives_an_outage(tmp_path: Path) -> None:
    """It goes on when Redis is back, and its end is quiet."""
    with redis_server(tmp_path) as server:
        async with open_redis(server.url) as redis:
            shelf = shelf_on(redis)

            async def is_away() -> bool:
                try:
                    await shelf.sweep()
                except CacheUnavailable:
                    return True
                return False

            async def is_back() -> bool:
                return not await is_away()

            async with sweeping(shelf, every=timedelta(milliseconds=1)):
                server.stop()
                await until(is_away)
                server.start()
                await until(is_back)
                await placed(shelf, ttl=SOON)
                await until(lambda: _is_empty(redis))


async def test_a_sweeper_always_comes_to_its_end(redis: RedisConnections) -> None:
    """Whatever it is doing when it is stopped, the replica can go."""
    shelf = shelf_on(redis)
    for steps in range(100):
        async with asyncio.timeout(5), sweeping(shelf, every=timedelta(0)):
            for _ in range(steps):
                await asyncio.sleep(0)


async def _is_empty(redis: RedisConnections) -> bool:
    return await keys_left(redis) == []


async def test_a_full_redis_takes_nothing_and_gives_everything(
    full_redis: RedisConnections,
) -> None:
    """Row 9: uploads find no room; reading, deleting and expiry work."""
    shelf = shelf_on(full_redis)
    data = picture(500)
    read, deleted = await placed(shelf, data=data), await placed(shelf)
    expiring = await placed(shelf, ttl=SOON)
    await fill(full_redis)

    assert await put(shelf) is NoRoom.IN_CACHE
    assert await shelf.read(read.image_id, 0, -1) == data
    assert await shelf.describe(read.image_id) is not None
    assert await shelf.forget(SHOP, [deleted.image_id]) == 1
    await until(lambda: _is_gone(shelf, expiring))
    assert await taken(shelf) == 500
    assert await shelf.sweep() == 1
    assert (await shelf.inventory(SHOP)).images == (read,)
    assert await shelf.forget(SHOP, [read.image_id]) == 1
    assert await keys_left(full_redis) == []


@pytest.mark.parametrize("step", range(1, STEPS_OF_AN_UPLOAD + 1))
async def test_a_redis_that_fills_up_in_an_upload_refunds_it(
    full_redis: RedisConnections, step: int
) -> None:
    """The picture that finds no memory is refused whole."""
    shelf = meddled_shelf(full_redis, Meddler(at=step, before=lambda: fill(full_redis)))

    assert await put(shelf) is NoRoom.IN_CACHE
    assert await keys_left(full_redis) == []


async def test_an_outage_is_never_nothing() -> None:
    """Without Redis every question is an error, not an empty answer."""
    async with open_redis(f"redis://127.0.0.1:{free_port()}") as redis:
        shelf = shelf_on(redis)
        for question in (
            put(shelf),
            shelf.describe(str(uuid4())),
            shelf.read(str(uuid4()), 0, -1),
            shelf.forget(SHOP, [str(uuid4())]),
            shelf.inventory(SHOP),
            shelf.owned(SHOP, [str(uuid4())]),
            shelf.sweep(),
        ):
            with pytest.raises(CacheUnavailable):
                await question


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[RedisConnections]:
    """Run a Cluster of one node, which refuses a script over two slots."""
    options = ["--cluster-enabled", "yes", "--cluster-port", str(free_port())]
    with redis_server(tmp_path, args=options) as server:
        async with open_redis(server.url) as plain:
            await plain.leases.execute("CLUSTER", "ADDSLOTSRANGE", 0, 16_383)

            async def is_ready() -> bool:
                state = await plain.leases.execute("CLUSTER", "INFO")
                return b"cluster_state:ok" in _bytes(state)

            await until(is_ready)
        async with open_redis(f"redis+cluster://127.0.0.1:{server.port}") as redis:
            yield redis


def _bytes(reply: Any) -> bytes:
    """Return what CLUSTER INFO said, parsed or not."""
    return (
        b"\n".join(f"{name}:{value}".encode() for name, value in reply.items())
        if isinstance(reply, dict)
        else reply
    )


async def test_it_works_on_a_cluster(cluster: RedisConnections) -> None:
    """No script crosses slots, and many pictures are deleted at once."""
    shelf = shelf_on(cluster)
    kept = [await placed(shelf, ttl=timedelta(seconds=60)) for _ in range(20)]

    assert await taken(shelf) == 2000
    assert await shelf.owned(SHOP, [image.image_id for image in kept])
    assert await shelf.read(kept[0].image_id, 0, -1) == picture()
    assert await shelf.forget(SHOP, [image.image_id for image in kept]) == 20
    assert await _is_gone(shelf, kept[0])
    assert await taken(shelf) == 0
    assert await shelf.sweep() == 0


def test_the_books_lie_in_one_slot_and_the_bytes_in_many() -> None:
    """All keys of a script share a hash tag; pictures spread over a Cluster."""
    tags = {key.split("{")[1].split("}")[0] for key in keys.TRANSIENT_BOOKS}

    assert len(tags) == 1
    assert "{lighthouse}" in keys.transient_bytes("lighthouse")
