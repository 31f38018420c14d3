"""A rendition is made once over all replicas, and removed with its picture."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from app.errors import (
    InvalidParameter,
    ProviderFailed,
    ShuttingDown,
    StillGenerating,
    StorageUnavailable,
)
from app.renditions import OriginalGone, Rendition
from app.renditions.rendition import AVIF, PNG, WEBP
from app.renditions.workshop import MAX_WAITING
from tests.renditions.pictures import encoded, halves
from tests.renditions.shop import IMAGE_ID, Shop

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from app.renditions.rendition import StoredRendition
    from tests.fakes import Gate
    from tests.renditions.shop import Replica

SMALL = Rendition(32, WEBP)


@pytest.fixture
async def shop() -> AsyncIterator[Shop]:
    """Give a store with one picture in it."""
    made = Shop()
    await made.paint()
    yield made
    for replica in made.replicas:
        await replica.parts.workshop.give_up()


async def test_it_is_made_once_over_all_replicas(shop: Shop) -> None:
    """Eight concurrent callers at two replicas get one drawing."""
    one, another = shop.replica(), shop.replica()
    found = await asyncio.gather(
        *(replica.open(SMALL) for replica in (one, another) for _ in range(4))
    )
    assert one.counted("made") + another.counted("made") == 1
    assert len(set(found)) == 1
    assert shop.stored == ["32.webp"]


async def test_the_name_says_width_quality_and_type(shop: Shop) -> None:
    """A rendition's key has its width, its quality if given, and its type."""
    replica = shop.replica()
    for rendition in (
        Rendition(32, WEBP),
        Rendition(32, WEBP, 80),
        Rendition(None, AVIF),
        Rendition(16),
    ):
        await replica.open(rendition)
    assert shop.stored == ["16.png", "32-q80.webp", "32.webp", "80.avif"]


@pytest.mark.parametrize(
    "rendition",
    [Rendition(), Rendition(80), Rendition(8192), Rendition(None, PNG)],
    ids=str,
)
async def test_the_picture_itself_is_no_rendition(
    shop: Shop, rendition: Rendition
) -> None:
    """A rendition of the picture's own width and type is the picture itself."""
    assert await shop.replica().open(rendition) is None
    assert shop.stored == []


async def test_a_png_has_no_quality(shop: Shop) -> None:
    """A quality for a format without one is refused."""
    for rendition in (Rendition(None, PNG, 50), Rendition(16, None, 50)):
        with pytest.raises(InvalidParameter) as refused:
            await shop.replica().open(rendition)
        assert refused.value.parameter == "q"


async def test_a_stored_one_is_found_by_a_replica_that_has_just_started(
    shop: Shop,
) -> None:
    """A stored rendition is read without Redis and without the picture."""
    made = await shop.replica().open(SMALL)
    calls = shop.index.calls.total()
    fresh = shop.replica()
    assert await fresh.open(SMALL) == made
    assert fresh.counted("made") == 0
    assert shop.index.calls.total() == calls
    assert made is not None
    assert fresh.memory.get(made.memory_key) is not None


async def test_a_damaged_one_is_made_again(shop: Shop) -> None:
    """A damaged rendition is made again."""
    made = await shop.replica().open(SMALL)
    assert made is not None
    shop.store.objects[str(made.storage_key)].data = b"something else"
    fresh = shop.replica()
    assert await fresh.open(SMALL) == made
    assert fresh.counted("made") == 1


async def storing_at_gate(
    shop: Shop, replica: Replica
) -> tuple[Gate, asyncio.Task[StoredRendition | None]]:
    """Open a rendition; return the gate before its storing, and the task."""
    storing = shop.store.before("put")
    opening = asyncio.create_task(replica.open(SMALL))
    await storing.reached()
    return storing, opening


async def test_a_purge_takes_along_what_is_being_made(shop: Shop) -> None:
    """A rendition whose picture is purged while it is made is removed."""
    replica = shop.replica()
    storing, waiting = await storing_at_gate(shop, replica)
    await shop.store.delete(str(shop.original.storage_key))
    storing.open()
    with pytest.raises(OriginalGone):
        await waiting
    assert shop.stored == []


async def test_without_its_picture_nothing_is_made(shop: Shop) -> None:
    """A rendition of a lost picture raises `OriginalGone` and is not stored."""
    await shop.store.delete(str(shop.original.storage_key))
    with pytest.raises(OriginalGone):
        await shop.replica().open(SMALL)
    assert shop.stored == []


async def test_an_outage_after_storing_leaves_nothing_that_may_outlive_a_purge(
    shop: Shop,
) -> None:
    """A rendition is removed if its picture can't be checked after it was stored."""
    shop.store.fail_next("exists")
    with pytest.raises(StorageUnavailable):
        await shop.replica().open(SMALL)
    assert shop.stored == []
    assert await shop.replica().open(SMALL) is not None


async def test_one_waits_no_longer_than_it_wants_and_the_making_goes_on(
    shop: Shop,
) -> None:
    """A wait that ends raises `StillGenerating`, and the rendition is made."""
    replica = shop.replica()
    storing = shop.store.before("put")
    with pytest.raises(StillGenerating) as late:
        await replica.open(SMALL, wait_seconds=0.01)
    assert late.value.retry_after is not None
    storing.open()
    assert await replica.open(SMALL) is not None
    assert replica.counted("made") == 1


async def test_the_line_is_bounded(shop: Shop) -> None:
    """Beyond 32 waiting renditions a new one is refused; a waiting one is joined."""
    replica = shop.replica()
    storing = shop.store.before("put")
    asked = [
        Rendition(width, WEBP, q) for q in (10, 20, 30) for width in range(16, 28)
    ][: MAX_WAITING + 1]
    waiting = [asyncio.create_task(replica.open(each)) for each in asked]
    await storing.reached()
    assert replica.parts.workshop.waiting == MAX_WAITING
    with pytest.raises(StillGenerating) as refused:
        await replica.open(Rendition(48, WEBP))
    assert refused.value.retry_after is not None
    waiting.append(asyncio.create_task(replica.open(asked[-1])))
    storing.open()
    assert all(await asyncio.gather(*waiting))
    assert replica.counted("refused") == 1
    assert await replica.open(Rendition(48, WEBP)) is not None


async def test_another_replicas_lease_is_waited_for_outside_the_turn(
    shop: Shop,
) -> None:
    """A rendition that another replica makes does not hold up the next one here."""
    one, another = shop.replica(), shop.replica()
    storing, leading = await storing_at_gate(shop, one)
    following = asyncio.create_task(another.open(SMALL))
    assert await another.open(Rendition(16, WEBP)) is not None
    assert not following.done()
    storing.open()
    assert await leading == await following
    assert another.counted("made") == 1


async def test_a_dead_replicas_work_is_done_by_the_next(shop: Shop) -> None:
    """A dead replica's rendition is made by another one when the lease expires."""
    dead, living = shop.replica(), shop.replica()
    storing, lost = await storing_at_gate(shop, dead)
    asking = shop.index.after("acquire")
    following = asyncio.create_task(living.open(SMALL))
    await asking.reached()
    for held in list(shop.index._leases):
        shop.index.expire_lease(held)
    asking.open()
    assert await following is not None
    assert living.counted("made") == 1
    storing.open()
    assert await lost == await following


async def test_without_redis_each_replica_makes_its_own(shop: Shop) -> None:
    """Without Redis each replica makes the rendition."""
    shop.index.is_away = True
    assert await shop.replica().open(SMALL) == await shop.replica().open(SMALL)
    assert shop.stored == ["32.webp"]


async def test_a_redis_that_hangs_is_not_waited_for(shop: Shop) -> None:
    """A rendition is made although Redis answers nothing about its lease."""
    shop.index.before("acquire")
    shop.index.before("release")

    async with asyncio.timeout(10):
        await shop.replica().open(SMALL)

    assert shop.stored == ["32.webp"]


async def test_what_can_not_be_decoded_is_remembered_by_all(shop: Shop) -> None:
    """An undecodable picture is tried once, and all replicas raise the failure."""
    whole = encoded(halves(size=(200, 200)), "PNG")
    await shop.paint(whole[: len(whole) // 2])
    one, another = shop.replica(), shop.replica()
    for replica in (one, one, another):
        with pytest.raises(ProviderFailed, match="can't be decoded") as failed:
            await replica.open(SMALL)
        assert failed.value.retry_after is not None
    assert one.counted("failed") == 1
    assert another.counted("failed") == 0
    with pytest.raises(ProviderFailed):
        await one.open(Rendition(16, AVIF))
    assert one.counted("failed") == 1


async def test_at_the_end_of_the_grace_waiters_hear_it(shop: Shop) -> None:
    """At the end of the grace waiters get `ShuttingDown`, and the lease is free."""
    replica = shop.replica()
    storing, waiting = await storing_at_gate(shop, replica)
    await replica.parts.workshop.give_up()
    with pytest.raises(ShuttingDown):
        await waiting
    storing.open()
    assert await shop.replica().open(SMALL) is not None


async def test_a_drain_waits_for_the_line(shop: Shop) -> None:
    """A drain waits until waiting renditions are stored."""
    replica = shop.replica()
    with pytest.raises(StillGenerating):
        await replica.open(SMALL, wait_seconds=0)
    await replica.parts.workshop.drain()
    assert shop.stored == ["32.webp"]


async def test_what_turned_out_to_be_gone_is_made_again(shop: Shop) -> None:
    """A rendition that was lost from the store is made again."""
    replica = shop.replica()
    made = await replica.open(SMALL)
    assert made is not None
    await shop.store.delete(str(made.storage_key))
    assert await replica.open(SMALL) == made
    replica.parts.renditions.forget(IMAGE_ID, SMALL)
    assert await replica.open(SMALL) == made
    assert replica.counted("made") == 2
    assert IMAGE_ID in made.memory_key
