"""The commit under outages and lost replies; a named picture is never removed."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from app.errors import ProviderFailed, StillGenerating, Unavailable
from app.prompt_cache.cache import LookupOutcome
from app.prompt_cache.entry.entry import PromptEntry
from tests.fakes import LIGHTHOUSE, SHOP, a_picture, a_prompt_cache
from tests.prompt_cache.cache_requests import ask, refresh

if TYPE_CHECKING:
    from tests.fakes import Replica, World

ORPHANS = "paintonce_orphans_total"
SOON = timedelta(seconds=0.3)


def named(world: World) -> list[str]:
    """Return the keys of the pictures that manifests name."""
    return [
        str(PromptEntry.from_manifest(world.store.objects[key].data).storage_key)
        for key in world.manifests
    ]


async def a_manifest_whose_reply_is_lost(
    world: World, replica: Replica, *, is_readable: bool
) -> None:
    """Refresh; lose the reply to the new manifest, then Redis."""
    world.store.lose_reply("replace")
    replaced = world.store.after("replace")
    refreshing = asyncio.create_task(refresh(replica))
    await replaced.reached()
    world.index.is_away = True
    if not is_readable:
        world.store.fail_next("get", 99)
    replaced.open()
    with pytest.raises(Unavailable):
        await refreshing
    world.index.is_away = False
    world.index.lose_everything()
    world.store._failures.clear()


async def test_a_manifest_whose_reply_was_lost_keeps_its_picture(
    world: World, another: Replica
) -> None:
    """A picture whose manifest was written without a reply is kept."""
    replica = a_prompt_cache(world, max_storing_time=SOON)
    old = await ask(replica)
    await a_manifest_whose_reply_is_lost(world, replica, is_readable=True)

    answer = await ask(another)

    assert answer.outcome == LookupOutcome.RESTORED
    assert answer.entry.image_id != old.entry.image_id
    assert await another.cache.read(answer) == a_picture(2)
    assert world.images == named(world)
    assert world.provider.count == 2


async def test_a_manifest_whose_fate_cannot_be_read_keeps_its_picture(
    world: World, another: Replica
) -> None:
    """A picture is kept as an orphan if the manifest's fate can't be read."""
    replica = a_prompt_cache(world, max_storing_time=SOON)
    await ask(replica)
    await a_manifest_whose_reply_is_lost(world, replica, is_readable=False)

    answer = await ask(another)

    assert await another.cache.read(answer) == a_picture(2)
    assert replica.counted(ORPHANS) == 1
    assert world.provider.count == 2


async def test_a_manifest_that_may_be_on_its_way_keeps_its_picture(
    world: World,
) -> None:
    """A picture is kept as an orphan if its manifest may still arrive."""
    replica = a_prompt_cache(world, max_storing_time=SOON)
    world.store.fail_next("create", 99)

    with pytest.raises(ProviderFailed):
        await ask(replica)

    assert (len(world.images), world.manifests) == (1, [])
    assert replica.counted(ORPHANS) == 1


async def test_a_refresh_that_has_lost_its_lease_takes_no_entry_away(
    world: World, replica: Replica, another: Replica
) -> None:
    """A refresh without its lease does not withdraw the entry.

    1. A regains its lease and stalls. 2. B takes it. 3. A goes on: the entry is still
    served until B releases the lease.
    """
    old = await ask(replica)
    stalled = world.index.before("withdraw")
    refreshing = asyncio.create_task(refresh(replica))
    await stalled.reached()
    world.index.expire_lease(LIGHTHOUSE.hash)
    async with another.parts.leases.writing(SHOP, LIGHTHOUSE.hash):
        refused = world.index.after("withdraw")
        stalled.open()
        await refused.reached()
        assert (await ask(another)).entry.image_id == old.entry.image_id
        refused.open()

    assert (await refreshing).entry.image_id != old.entry.image_id
    assert world.provider.count == 2
    assert world.images == named(world)


async def test_waiters_of_a_paid_picture_are_not_invited_to_pay(world: World) -> None:
    """Waiters of a paid picture that is not stored yet get `StillGenerating`."""
    replica = a_prompt_cache(world, generation_timeout=timedelta(seconds=0.05))
    storing = world.store.before("put")
    asked = [asyncio.create_task(ask(replica)) for _ in range(3)]
    await storing.reached()

    ended = await asyncio.gather(*asked, return_exceptions=True)
    late = await asyncio.gather(ask(replica), return_exceptions=True)
    storing.open()
    await replica.parts.drain()
    answer = await ask(replica)

    assert {type(error) for error in (*ended, *late)} == {StillGenerating}
    assert answer.outcome == LookupOutcome.HIT
    assert world.provider.count == 1


async def test_a_generation_that_is_not_paid_for_ends_in_its_time(
    world: World,
) -> None:
    """Queue, call and references together end in the time of a generation."""
    replica = a_prompt_cache(world, generation_timeout=timedelta(seconds=0.05))
    world.provider.before("paint")

    with pytest.raises(Exception, match="not done in time"):
        await ask(replica)


async def test_storing_has_an_end(world: World) -> None:
    """Storing ends after its bound if the store freezes."""
    replica = a_prompt_cache(world, max_storing_time=timedelta(seconds=0.05))
    world.store.before("put")

    with pytest.raises(ProviderFailed):
        await ask(replica)

    assert replica.counted(ORPHANS) == 1
    assert world.index.holder_now(LIGHTHOUSE.hash) is None


async def test_a_lease_that_stays_anothers_leaves_no_picture(world: World) -> None:
    """A late leader that never gets the lease again leaves no picture."""
    replica = a_prompt_cache(world, max_storing_time=timedelta(seconds=0.05))
    other = a_prompt_cache(world)
    stalled = world.provider.before("paint")
    asked = asyncio.create_task(ask(replica))
    await stalled.reached()
    world.index.expire_lease(LIGHTHOUSE.hash)
    async with other.parts.leases.writing(SHOP, LIGHTHOUSE.hash):
        stalled.open()
        with pytest.raises(StillGenerating):
            await asked

    assert world.store.objects == {}
