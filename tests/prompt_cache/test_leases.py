"""A held lease is renewed while a painting runs, and regained after a stall."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from app.storage.ports.prompt_index import Following, Leading
from tests.fakes import LIGHTHOUSE as PROMPT
from tests.fakes import SHOP, UNLIMITED_PERMIT, a_prompt_cache, leases_of
from tests.until import until

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from app.prompt_cache.flight.leases import Lease
    from tests.fakes import World

LIGHTHOUSE = "11" * 32
OURS, THEIRS = "ours", "theirs"

# Renewed after 3 ms, so that nothing has to be waited for in a test.
SHORT = timedelta(milliseconds=9)
LONG = timedelta(seconds=20)


def a_lease(world: World, token: str = OURS, lease_for: timedelta = LONG) -> Lease:
    """Return a lease of the lighthouse."""
    return leases_of(world, lease_for).of_flight(LIGHTHOUSE, token)


async def test_a_lease_is_renewed_while_it_is_kept(world: World) -> None:
    """A kept lease is renewed before it expires."""
    lease = a_lease(world, lease_for=SHORT)
    await lease.hold()
    async with lease.kept():
        await until(lambda: world.index.calls["hold"] >= 6)

        assert world.index.holder_now(LIGHTHOUSE) == OURS


async def test_nothing_is_renewed_after_it_was_kept(world: World) -> None:
    """A lease is not renewed once it is no longer kept."""
    lease = a_lease(world, lease_for=SHORT)
    async with lease.kept():
        await until(lambda: world.index.calls["hold"] >= 1)
    count = world.index.calls["hold"]

    await until(lambda: world.index.holder_now(LIGHTHOUSE) is None)

    assert world.index.calls["hold"] == count


async def test_a_failed_renewal_is_repeated(world: World) -> None:
    """A renewal that failed is repeated."""
    lease = a_lease(world, lease_for=SHORT)
    world.index.fail_next("hold", 2)
    async with lease.kept():
        await until(lambda: world.index.holder_now(LIGHTHOUSE) == OURS)

    assert world.index.calls["hold"] >= 3


async def test_another_holder_is_left_alone(world: World) -> None:
    """A renewal leaves another holder's lease alone."""
    theirs = a_lease(world, THEIRS)
    await theirs.hold()
    async with a_lease(world, lease_for=SHORT).kept():
        await until(lambda: world.index.calls["hold"] >= 4)
        assert world.index.holder_now(LIGHTHOUSE) == THEIRS
        await theirs.release()

        await until(lambda: world.index.holder_now(LIGHTHOUSE) == OURS)


async def test_a_renewal_is_not_overtaken_by_the_release(world: World) -> None:
    """A renewal that is on its way ends before the release.

    The interleaving of `Lease.kept`: otherwise it would find the lease vacant, and take
    it without a holder.
    """
    lease = a_lease(world, lease_for=SHORT)

    async def work() -> None:
        """Keep the lease until a renewal is on its way, then release it."""
        async with lease.kept():
            await renewal.reached()
        await lease.release()

    renewal = world.index.before("hold")
    working = asyncio.create_task(work())
    await renewal.reached()
    for _ in range(10):
        await asyncio.sleep(0)
    assert not working.done()
    renewal.open()
    await working

    assert world.index.holder_now(LIGHTHOUSE) is None


async def test_a_vacant_lease_is_regained(world: World) -> None:
    """A vacant lease is regained at once."""
    lease = a_lease(world)
    await lease.hold()
    world.index.expire_lease(LIGHTHOUSE)

    assert await lease.regain(30)
    assert world.index.holder_now(LIGHTHOUSE) == OURS


async def test_a_lease_is_regained_when_its_holder_lets_go(world: World) -> None:
    """A lease is regained when its holder releases it."""
    theirs = a_lease(world, THEIRS)
    await theirs.hold()
    refused = world.index.after("hold")
    regaining = asyncio.create_task(a_lease(world).regain(30))
    await refused.reached()
    await theirs.release()
    refused.open()

    assert await regaining


async def test_waiting_for_a_lease_has_an_end(world: World) -> None:
    """Regaining another's lease ends at its bound."""
    await a_lease(world, THEIRS).hold()

    assert not await a_lease(world).regain(-1)


async def test_without_redis_the_ledger_alone_decides(world: World) -> None:
    """Without Redis a lease counts as regained."""
    world.index.is_away = True

    assert await a_lease(world).regain(30)


async def test_releasing_without_redis_is_no_error(world: World) -> None:
    """A release without Redis raises nothing."""
    lease = a_lease(world)
    await lease.hold()
    world.index.is_away = True
    await lease.release()

    assert world.index.holder_now(LIGHTHOUSE) == OURS


async def test_holding_says_whose_it_is(world: World) -> None:
    """`hold` returns the other holder's token."""
    assert await a_lease(world).hold() == Leading()
    assert await a_lease(world, THEIRS).hold() == Following(OURS)


@pytest.mark.parametrize("work", ["a miss", "a refresh"])
async def test_a_lease_is_renewed_while_the_ledger_is_read(
    world: World, work: str
) -> None:
    """M11: a leader keeps its lease while a slow store reads the manifest."""
    replica = a_prompt_cache(world, lease_for=timedelta(milliseconds=60))
    paint = partial(
        replica.cache.get_or_generate,
        PROMPT,
        permit=UNLIMITED_PERMIT,
        wait_seconds=30,
    )
    asked: Coroutine[Any, Any, object] = paint()
    if work == "a refresh":
        await asked
        asked = replica.entries.refresh(
            SHOP, PROMPT.hash, permit=UNLIMITED_PERMIT, wait_seconds=30
        )
    slow = world.store.before("get")
    asking = asyncio.create_task(asked)
    await slow.reached()
    renewals = world.index.calls["renew"]
    await until(lambda: world.index.calls["renew"] >= renewals + 6)
    slow.open()
    await asking

    assert world.provider.count == (2 if work == "a refresh" else 1)
