"""A purge, interrupted at every step and repeated."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from app.errors import (
    CacheUnavailable,
    NotFound,
    StillGenerating,
    StorageUnavailable,
    Unavailable,
)
from app.prompt_cache.cache import LookupOutcome
from app.storage.storage_key import Project
from tests.fakes import LIGHTHOUSE, SHOP, a_prompt_cache, leases_of
from tests.prompt_cache.cache_requests import ask

if TYPE_CHECKING:
    from tests.fakes import Replica, World

ZOO = Project("acme", "zoo")


async def purge(replica: Replica) -> None:
    """Purge the lighthouse."""
    await replica.purge(SHOP, LIGHTHOUSE.hash)


async def is_finished(world: World, replica: Replica) -> None:
    """Assert that a repeated purge finishes and the next one finds nothing."""
    await purge(replica)

    assert world.store.objects == {}
    assert await world.index.peek([LIGHTHOUSE.hash]) == [None]
    assert (await replica.statistics.read("acme/shop"))["entries"] == 0
    with pytest.raises(NotFound):
        await purge(replica)


async def test_the_manifest_goes_first_and_the_picture_last(
    world: World, replica: Replica
) -> None:
    """A purge removes the manifest, then the entry, then the picture."""
    await ask(replica)
    manifest, entry = world.store.after("delete"), world.index.after("forget")
    purging = asyncio.create_task(purge(replica))

    await manifest.reached()
    assert (len(world.manifests), len(world.index.entries)) == (0, 1)
    manifest.open()
    await entry.reached()
    assert (len(world.index.entries), len(world.images)) == (0, 1)
    entry.open()
    await purging

    assert world.images == []


async def test_a_purge_of_anothers_prompt_asks_for_no_lease(
    world: World, replica: Replica, another: Replica
) -> None:
    """A purge of another project's prompt takes no lease."""
    gate = world.provider.before("paint")
    painting = asyncio.create_task(ask(replica))
    await gate.reached()

    with pytest.raises(NotFound):
        await another.purge(ZOO, LIGHTHOUSE.hash)
    assert world.index.calls["hold"] == 0
    gate.open()
    await painting
    asked = world.index.calls["hold"]
    with pytest.raises(NotFound):
        await another.purge(ZOO, LIGHTHOUSE.hash)
    assert world.index.calls["hold"] == asked


async def test_a_purge_waits_for_a_restoration_of_its_own_project(
    world: World,
) -> None:
    """A purge waits while its entry is being restored."""
    replica = a_prompt_cache(world, purge_waits_seconds=0.02)
    async with leases_of(world).writing(SHOP, LIGHTHOUSE.hash):
        with pytest.raises(StillGenerating):
            await purge(replica)
    async with leases_of(world).writing(ZOO, LIGHTHOUSE.hash):
        with pytest.raises(NotFound):
            await purge(replica)


async def test_a_store_that_is_away_before_the_first_step_changes_nothing(
    world: World, replica: Replica
) -> None:
    """A purge without the store changes nothing."""
    await ask(replica)
    world.store.fail_next("delete")

    with pytest.raises(StorageUnavailable):
        await purge(replica)

    assert (await ask(replica)).hits == 1
    assert len(world.manifests) == 1
    await is_finished(world, replica)


@pytest.mark.parametrize("comes_back", ["as it was", "empty"])
async def test_a_redis_that_goes_away_after_the_first_step(
    world: World, replica: Replica, another: Replica, comes_back: str
) -> None:
    """A purge that lost Redis after the manifest finishes when it is repeated."""
    await ask(replica)
    gone = world.store.after("delete")
    purging = asyncio.create_task(purge(replica))
    await gone.reached()
    world.index.is_away = True
    gone.open()
    with pytest.raises(CacheUnavailable):
        await purging
    world.index.is_away = False
    if comes_back == "empty":
        world.index.lose_everything()
    else:
        world.index.expire_lease(LIGHTHOUSE.hash)

    assert len(world.images) == 1
    await is_finished(world, another)


async def purge_that_loses_the_store(world: World, replica: Replica) -> None:
    """Purge a prompt; the store fails between its manifest and its picture."""
    manifest = world.store.after("delete")
    purging = asyncio.create_task(purge(replica))
    await manifest.reached()
    world.store.fail_next("delete")
    manifest.open()
    with pytest.raises(StorageUnavailable):
        await purging


async def test_a_store_that_goes_away_before_the_picture_is_removed(
    world: World, replica: Replica, another: Replica
) -> None:
    """A purge that lost the store before the picture finishes when it is repeated."""
    await ask(replica)
    await purge_that_loses_the_store(world, replica)

    assert await world.index.peek([LIGHTHOUSE.hash]) == [None]
    assert len(world.images) == 1
    await is_finished(world, another)


@pytest.mark.parametrize(
    ("port", "method"),
    [("store", "delete"), ("index", "forget"), ("index", "hold")],
)
async def test_a_purge_whose_reply_was_lost_is_repeated(
    world: World, replica: Replica, port: str, method: str
) -> None:
    """A purge that lost any reply finishes when it is repeated."""
    await ask(replica)
    getattr(world, port).lose_reply(method)

    with pytest.raises(Unavailable):
        await purge(replica)

    await is_finished(world, replica)


async def test_a_picture_that_was_painted_after_an_interrupted_purge(
    world: World, replica: Replica
) -> None:
    """A repeated purge removes a newer picture and the old one's rest."""
    await ask(replica)
    await purge_that_loses_the_store(world, replica)
    assert (await ask(replica)).outcome == LookupOutcome.MISS
    assert len(world.images) == 2

    await is_finished(world, replica)


async def test_a_request_after_a_purge_joins_no_older_flight(
    world: World, replica: Replica, another: Replica
) -> None:
    """A request after a purge does not join an older flight.

    The interleaving of `Flight.close`: 1. A leader has written its entry, and not
    landed yet. 2. A purge on another replica answers. 3. A request to the leader's
    replica is painted anew.
    """
    committed = world.index.after("commit")
    first = asyncio.create_task(ask(replica))
    await committed.reached()
    await purge(another)

    late = asyncio.create_task(ask(replica))
    again = await late
    committed.open()

    assert again.outcome == LookupOutcome.MISS
    assert again.entry.image_id != (await first).entry.image_id
    assert world.provider.count == 2
