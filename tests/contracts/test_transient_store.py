"""The contract of the transient store, for Redis and the fake."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest

from app.storage.ports.transient_store import Quota, QuotaReached, StoredImage
from app.storage.redis.client.traffic import open_redis
from tests.fake_transient_store import InMemoryTransientStore
from tests.transient_images.stores import (
    SHOP,
    STUDIO,
    is_gone,
    picture,
    placed,
    put,
    store_on,
    used,
)
from tests.until import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from app.storage.ports.transient_store import TransientStore

SOON = timedelta(milliseconds=40)
# Enough for one more upload before the end, on a busy machine too.
A_LITTLE_LATER = timedelta(milliseconds=500)


@pytest.fixture(params=["redis", "in memory"])
async def store(request: pytest.FixtureRequest) -> AsyncIterator[TransientStore]:
    """Open each store in turn, empty."""
    if request.param == "in memory":
        yield InMemoryTransientStore()
        return
    async with open_redis(request.getfixturevalue("redis_url")) as connections:
        yield store_on(connections)


async def test_what_is_put_there_is_read_until_it_is_taken_away(
    store: TransientStore,
) -> None:
    """A picture is readable, counted and listed until it is removed."""
    data = picture(3000, b"storm")
    stored = await placed(store, data=data)

    described = await store.describe(stored.image_id)
    inventory = await store.inventory(SHOP)
    part = await store.read(stored.image_id, 10, 1999)

    assert described is not None
    assert (described.size, described.head) == (3000, data[:64])
    assert part == data[10:2000]
    assert inventory.images == (stored,)
    assert (inventory.used_bytes, stored.expires_ms) == (3000, None)
    assert await store.forget(SHOP, [stored.image_id]) == 1
    assert await store.describe(stored.image_id) is None
    assert await store.read(stored.image_id, 0, -1) == b""


async def test_only_the_owner_takes_it_away(store: TransientStore) -> None:
    """Another project can't remove a picture, nor learn whether it exists."""
    stored = await placed(store)
    others = [stored.image_id, str(uuid4())]

    assert await store.forget(STUDIO, others) == 0
    assert await store.forget(SHOP, others, media_type="image/jpeg") == 0
    assert await store.forget(SHOP, [*others, *others], media_type="image/png") == 1


async def test_a_project_whose_name_begins_like_anothers_has_its_own_list(
    store: TransientStore,
) -> None:
    """A project whose name is a prefix of another's has a separate list."""
    longer = await placed(store, project=f"{SHOP}-2")
    shorter = await placed(store)

    assert (await store.inventory(SHOP)).images == (shorter,)
    assert (await store.inventory(f"{SHOP}-2")).images == (longer,)


async def test_the_quota_over_all_projects_is_exact(store: TransientStore) -> None:
    """The quota of all projects together is exact under concurrent uploads."""
    quota = Quota(in_project=1000, in_all=550, pictures=1000)
    projects = [SHOP, STUDIO, "acme/attic"] * 4
    ends = await asyncio.gather(
        *(put(store, project=project, quota=quota) for project in projects)
    )
    kept = [end for end in ends if isinstance(end, StoredImage)]

    assert len(kept) == 5
    assert set(ends) - set(kept) == {QuotaReached.IN_ALL}
    assert sum([await used(store, project) for project in set(projects)]) == 500
    for project in set(projects):
        await store.forget(project, [kept[0].image_id])
    assert isinstance(await put(store, project="acme/new", quota=quota), StoredImage)


async def test_the_number_of_pictures_is_bounded(store: TransientStore) -> None:
    """The number of a project's pictures is limited."""
    quota = Quota(in_project=1_000_000, in_all=None, pictures=2)
    for _ in range(2):
        await placed(store, quota=quota)

    assert await put(store, quota=quota) is QuotaReached.IN_COUNT
    assert isinstance(await put(store, project=STUDIO, quota=quota), StoredImage)


async def test_an_expired_picture_is_gone_and_refunded_at_once(
    store: TransientStore,
) -> None:
    """An expired picture is neither readable nor counted, without a sweep."""
    stays = await placed(store)
    goes = await placed(store, ttl=SOON)
    assert goes.expires_ms == goes.created_ms + 40

    async def has_gone() -> bool:
        before = await store.inventory(SHOP)
        described = await store.describe(goes.image_id)
        after = await store.inventory(SHOP)
        if before.images == (stays,):
            assert described is None
        if described is None:
            assert after.images == (stays,)
            assert after.used_bytes == stays.size
        return described is None

    await until(has_gone)
    assert await store.forget(SHOP, [goes.image_id]) == 0


async def test_room_comes_back_in_the_moment_of_expiry(
    store: TransientStore,
) -> None:
    """A full project may upload again as soon as a picture has expired."""
    quota = Quota(in_project=150, in_all=150, pictures=10)
    first = await placed(store, quota=quota, ttl=A_LITTLE_LATER)
    assert await put(store, quota=quota) is QuotaReached.IN_PROJECT
    await until(lambda: is_gone(store, first))

    assert isinstance(await put(store, quota=quota), StoredImage)


async def test_a_digest_is_kept_with_its_picture(store: TransientStore) -> None:
    """Only the owner reads a digest, which is removed with its picture."""
    known, unknown = await placed(store), await placed(store)
    await store.note_digest(known.image_id, b"a storm")
    await store.note_digest(str(uuid4()), b"nothing")
    ids = [known.image_id, unknown.image_id]

    assert await store.digests(SHOP, [*ids, str(uuid4())]) == {
        known.image_id: b"a storm",
        unknown.image_id: b"",
    }
    assert await store.digests(STUDIO, ids) == {}
    await store.forget(SHOP, ids)
    assert await store.digests(SHOP, ids) == {}


async def test_the_digest_of_an_expired_picture_is_gone(store: TransientStore) -> None:
    """The digest of an expired picture is not returned."""
    goes = await placed(store, ttl=SOON)
    await store.note_digest(goes.image_id, b"a storm")
    await until(lambda: is_gone(store, goes))

    assert await store.digests(SHOP, [goes.image_id]) == {}
