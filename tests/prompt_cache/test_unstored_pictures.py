"""Paid pictures that the store does not accept yet."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from app.errors import CallEnd, ProviderFailed, StorageUnavailable
from app.prompt_cache.cache import LookupOutcome
from tests.fakes import LIGHTHOUSE, SHOP, a_picture, a_prompt_cache
from tests.prompt_cache.cache_requests import FOX, ask, promised
from tests.until import until

if TYPE_CHECKING:
    from tests.fakes import Replica, World


def full(world: World, method: str = "put") -> None:
    """Make the store refuse pictures until the test heals it."""
    world.store.fail_next(method, 10**6)


def healed(world: World) -> None:
    """Make the store accept pictures again."""
    world.store._failures.clear()


async def unstored(world: World, replica: Replica) -> None:
    """Paint the lighthouse while the store is full."""
    full(world)
    with pytest.raises(StorageUnavailable):
        await ask(replica)


async def test_a_picture_waits_for_its_store_and_is_paid_for_once(
    world: World, another: Replica
) -> None:
    """C5: a paid picture is 503 on every replica until it is stored, then a HIT."""
    replica = a_prompt_cache(world, unstored_patience_seconds=0)
    await unstored(world, replica)

    for asked in (replica, another, another, replica):
        with pytest.raises(StorageUnavailable):
            await ask(asked)
    assert world.index.holder_now(LIGHTHOUSE.hash) is not None
    healed(world)
    await replica.parts.drain()

    answers = [await ask(replica), await ask(another)]
    assert [answer.outcome for answer in answers] == [LookupOutcome.HIT] * 2
    assert world.provider.count == 1
    assert await world.index.remembered(LIGHTHOUSE.hash) is None
    assert replica.parts.painter.unstored._held_bytes == 0


async def test_callers_wait_for_a_store_that_refuses_for_a_moment(
    world: World, replica: Replica
) -> None:
    """A caller waits while the store refuses for a moment."""
    world.store.fail_next("put", 2)

    assert (await ask(replica)).data == a_picture(1)


async def test_a_caller_that_wants_an_id_is_given_it(world: World) -> None:
    """A caller that wants an id gets that of the generation."""
    replica = a_prompt_cache(world, unstored_patience_seconds=0)
    await unstored(world, replica)

    generation_id = await promised(replica)
    healed(world)
    await replica.parts.drain()

    record = await replica.parts.generations.find(SHOP, generation_id)
    assert record is not None
    assert record.state == "done"


async def test_a_full_memory_loses_the_picture_and_holds_the_prompt(
    world: World,
) -> None:
    """Without room for one more unstored picture it is lost, and its prompt held."""
    replica = a_prompt_cache(world, unstored_patience_seconds=0, unstored_bytes=10)
    full(world)

    with pytest.raises(ProviderFailed) as lost:
        await ask(replica)
    healed(world)
    with pytest.raises(ProviderFailed) as held:
        await ask(replica)

    for failure in (lost.value, held.value):
        assert failure.end is CallEnd.AMBIGUOUS
        assert failure.retry_after is not None
        assert failure.retry_after >= timedelta(seconds=120)
    assert world.provider.count == 1
    assert (await ask(replica, FOX)).outcome == LookupOutcome.MISS


async def test_a_picture_that_is_refused_to_the_end_holds_the_prompt(
    world: World, another: Replica
) -> None:
    """A picture that is refused for ten minutes is dropped, and its prompt held."""
    replica = a_prompt_cache(
        world, unstored_patience_seconds=0, max_storing_time=timedelta(seconds=0.4)
    )
    await unstored(world, replica)
    await replica.parts.drain()
    healed(world)

    with pytest.raises(ProviderFailed):
        await ask(another)
    assert world.provider.count == 1


async def test_the_lease_is_renewed_while_the_manifest_is_settled(
    world: World, another: Replica
) -> None:
    """C11: the lease is renewed while the manifest is written."""
    lease_for = timedelta(seconds=0.15)
    replica = a_prompt_cache(world, lease_for=lease_for)
    settling = world.store.before("create")
    first = asyncio.create_task(ask(replica))
    await settling.reached()
    second = asyncio.create_task(ask(another))
    await asyncio.sleep(3 * lease_for.total_seconds())
    settling.open()

    assert (await second).entry.image_id == (await first).entry.image_id
    assert world.provider.count == 1


async def test_the_settling_leader_takes_no_lease_that_was_lost(
    world: World, another: Replica
) -> None:
    """A leader that lost its lease to a purge does not restore the picture.

    1. A writes the manifest. 2. Its lease is lost. 3. B purges. 4. A renewal of A's
    must not take the vacant lease: A's entry is refused.
    """
    replica = a_prompt_cache(world, lease_for=timedelta(seconds=0.15))
    written = world.store.after("create")
    asked = asyncio.create_task(ask(replica))
    await written.reached()
    world.index.expire_lease(LIGHTHOUSE.hash)
    await another.purge(SHOP, LIGHTHOUSE.hash)
    await asyncio.sleep(0.2)
    written.open()
    await asked
    await until(lambda: world.index.holder_now(LIGHTHOUSE.hash) is None)

    assert LIGHTHOUSE.hash not in world.index.entries
