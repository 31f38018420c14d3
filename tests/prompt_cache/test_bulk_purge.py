"""Bulk purges: many prompts, each purged like one, within bounds."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from app.errors import CacheUnavailable, StorageUnavailable
from app.prompt_cache import bulk_purge
from app.prompt_cache.bulk_purge import BulkPurge, Purged
from app.prompt_cache.entry.entry import PromptEntry
from app.prompt_cache.entry.prompt_key import Parameters, PromptKey
from app.storage.storage_key import Project
from tests.fakes import SHOP, a_prompt_cache, leases_of
from tests.prompt_cache.cache_requests import ask

if TYPE_CHECKING:
    from tests.fakes import Replica, World

ZOO = Project("acme", "zoo")
KEYS = [PromptKey(SHOP, Parameters(f"a red fox, {number}")) for number in range(20)]
HASHES = [key.hash for key in KEYS]


@pytest.fixture(autouse=True)
async def painted(replica: Replica) -> None:
    """Paint twenty foxes, and one prompt of the zoo."""
    for key in [*KEYS, PromptKey(ZOO, KEYS[0].parameters)]:
        await ask(replica, key)


def bounded(replica: Replica, **bounds: float) -> BulkPurge:
    """Return a bulk purge with other bounds."""
    parts = replica.parts
    return BulkPurge(
        purge=parts.purge,
        index=parts.cache.index,
        ledger=parts.ledger,
        statistics=parts.statistics,
        **bounds,  # type: ignore[arg-type]
    )


def aged(world: World, key: PromptKey, seconds: float) -> None:
    """Make a prompt's entry in Redis look old."""
    entry = PromptEntry.from_record(key.hash, world.index.entries[key.hash])
    assert entry is not None
    old = entry._replace(created_ms=round((time.time() - seconds) * 1000))
    world.index.entries[key.hash] = old.to_record()


async def test_those_that_are_named_go(world: World, replica: Replica) -> None:
    """Named prompts are purged; unknown, foreign and repeated hashes do not count."""
    purged = await replica.parts.bulk_purge.these(
        SHOP, [*HASHES[:5], HASHES[0], "0" * 64]
    )

    assert purged == Purged(deleted=5, failed=0, more=False)
    assert len(world.images) == 16
    assert await replica.parts.bulk_purge.these(ZOO, HASHES) == Purged()


async def test_all_goes_of_one_project_alone(world: World, replica: Replica) -> None:
    """A purge of all removes one project's prompts and no others."""
    assert await replica.parts.bulk_purge.all(SHOP) == Purged(deleted=20)

    assert len(world.images) == len(world.manifests) == len(world.index.entries) == 1
    assert await replica.parts.bulk_purge.all(SHOP) == Purged()


async def test_all_takes_what_only_redis_knows(world: World, replica: Replica) -> None:
    """A purge of all removes an entry whose manifest is lost."""
    await replica.statistics.apply()
    del world.store.objects[f"acme/shop/prompts/{HASHES[3]}.json"]

    assert await replica.parts.bulk_purge.all(SHOP) == Purged(deleted=20)
    assert len(world.index.entries) == 1


async def test_what_is_old_goes_by_its_creation(world: World, replica: Replica) -> None:
    """A purge by age counts from the creation, also of prompts in the ledger alone."""
    for key in KEYS[:4]:
        aged(world, key, 3600)
    del world.index.entries[HASHES[5]]

    purged = await replica.parts.bulk_purge.older_than(SHOP, 1800)

    assert purged == Purged(deleted=4)
    assert len(world.images) == 17


async def test_a_call_has_a_bound_and_the_next_one_goes_on(
    world: World, replica: Replica, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A call purges a bounded number, and the next call goes on."""
    monkeypatch.setattr(bulk_purge, "LOOKED_AT_ONCE", 6)
    some = bounded(replica, max_prompts=8)
    calls = [await some.all(SHOP)]
    while calls[-1].more:
        calls.append(await some.all(SHOP))

    assert sum(call.deleted for call in calls) == 20
    assert all(call.deleted <= 16 for call in calls)
    assert len(calls) >= 2
    assert len(world.images) == 1


async def test_a_call_ends_in_its_time(replica: Replica) -> None:
    """A call that runs out of time returns `more`."""
    late = bounded(replica, max_seconds=0)

    assert await late.these(SHOP, HASHES) == Purged(more=True)
    assert await late.all(SHOP) == Purged(more=True)


async def test_a_prompt_that_is_being_written_counts_as_failed(world: World) -> None:
    """A prompt that is being written counts as failed, and the others are purged."""
    replica = a_prompt_cache(world, purge_waits_seconds=0.01)
    async with leases_of(world).writing(SHOP, HASHES[7]):
        purged = await replica.parts.bulk_purge.these(SHOP, HASHES)

    assert purged == Purged(deleted=19, failed=1, more=True)


async def test_an_outage_ends_a_call(world: World, replica: Replica) -> None:
    """An outage raises before the first purge, and later returns `more`."""
    world.index.is_away = True
    with pytest.raises(CacheUnavailable):
        await replica.parts.bulk_purge.all(SHOP)
    world.index.is_away = False
    world.index.fail_next("forget")

    purged = await replica.parts.bulk_purge.these(SHOP, HASHES)

    assert (purged.failed, purged.more) == (1, True)
    assert purged.deleted > 0


async def test_ghosts_of_a_list_are_taken_off_it(
    world: World, replica: Replica, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A listed prompt that exists nowhere is removed from the list."""
    monkeypatch.setattr(bulk_purge, "LOOKED_AT_ONCE", 8)
    await replica.statistics.apply()
    for key in KEYS:
        world.index.entries.pop(key.hash)
        world.store.objects.pop(f"acme/shop/prompts/{key.hash}.json")

    assert await replica.parts.bulk_purge.all(SHOP) == Purged()

    sums = await replica.statistics.read("acme/shop")
    assert (sums["entries"], sums["bytes_stored"]) == (0, 0)


async def test_a_second_caller_ends_no_walk_of_the_first(
    world: World, replica: Replica, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second call does not skip prompts that became old behind the first one."""
    monkeypatch.setattr(bulk_purge, "LOOKED_AT_ONCE", 6)
    some = bounded(replica, max_prompts=8)
    for key in KEYS[:4]:
        aged(world, key, 3600)
    ordered = sorted(HASHES)
    aged(world, KEYS[HASHES.index(ordered[19])], 3600)
    first = await bounded(replica, max_prompts=1).older_than(SHOP, 1800)
    for key in KEYS:
        if key.hash in world.index.entries:
            aged(world, key, 1801)

    calls = [await some.older_than(SHOP, 1800)]
    while calls[-1].more:
        calls.append(await some.older_than(SHOP, 1800))

    assert first.more
    assert len(world.images) == 1


async def test_an_outage_in_the_middle_leaves_more(
    world: World, replica: Replica
) -> None:
    """After a store that refused some deletions, repeated calls remove the rest."""
    world.store.fail_next("delete", 3)
    calls: list[Purged] = []
    while not calls or calls[-1].more:
        try:
            calls.append(await replica.parts.bulk_purge.all(SHOP))
        except StorageUnavailable:
            calls.append(Purged(more=True))

    assert len(world.images) == len(world.manifests) == 1
    assert not [key for key in world.store.objects if "purges" in key]
