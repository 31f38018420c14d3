"""An older Redis comes back; purged and replaced pictures are not served."""

from __future__ import annotations

import asyncio
from collections import Counter
from copy import deepcopy
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from app.errors import NotFound, StorageUnavailable
from app.prompt_cache.bulk_purge import Purged
from app.prompt_cache.cache import LookupOutcome
from app.prompt_cache.entry.prompt_key import Parameters, PromptKey
from app.prompt_cache.listed_entries import MANIFESTS_AT_ONCE, ListedEntries
from tests.fakes import LIGHTHOUSE, SHOP, UNLIMITED_PERMIT, a_picture
from tests.prompt_cache.cache_requests import FOX, ask, refresh
from tests.until import until

if TYPE_CHECKING:
    from tests.fakes import Replica, Sums, World


def comes_back(world: World, entries: dict[str, bytes]) -> None:
    """Restore Redis with *entries*, under another run id."""
    world.index.entries = dict(entries)
    world.index.doubts += 1


@dataclass
class Snapshot:
    """Entries and statistics of Redis as they were."""

    entries: dict[str, bytes]
    projects: dict[str, Sums]

    @classmethod
    async def of(cls, replica: Replica) -> Snapshot:
        """Take a snapshot after what *replica* has gathered is written."""
        await replica.statistics.apply()
        world = replica.world
        return cls(dict(world.index.entries), deepcopy(world.projects))

    @classmethod
    async def comes_back_after_a_purge(cls, replica: Replica, *others: Replica) -> None:
        """Purge the lighthouse, and restore Redis as it was before."""
        snapshot = await cls.of(replica)
        await replica.purge(SHOP, LIGHTHOUSE.hash)
        await snapshot.comes_back(replica, *others)

    async def comes_back(self, *replicas: Replica) -> None:
        """Restore Redis; *replicas* have written what they had gathered before."""
        for replica in replicas:
            await replica.statistics.apply()
        world = replicas[0].world
        world.projects.clear()
        world.projects.update(deepcopy(self.projects))
        comes_back(world, self.entries)


async def listed(replica: Replica, *, by_hits: bool = False) -> list[str]:
    """Return the ids of the pictures in the shop's list."""
    lists = replica.parts.listed
    seen, _ = await lists.page(SHOP, by_hits=by_hits, after=None, limit=50)
    return [one.entry.image_id for one in seen]


async def counted(replica: Replica) -> tuple[int, int]:
    """Return the entries and the bytes of the shop's statistics."""
    sums = await replica.parts.listed.sums(SHOP)
    return sums["entries"], sums["bytes_stored"]


async def test_what_was_purged_stays_so(
    world: World, replica: Replica, another: Replica
) -> None:
    """A purged entry that comes back is not served, and its hits are not counted."""
    old = await ask(replica)
    assert await another.cache.read(await ask(another)) is not None
    snapshot, hits = dict(world.index.entries), Counter(world.index.hits)
    await replica.purge(SHOP, LIGHTHOUSE.hash)
    comes_back(world, snapshot)

    with pytest.raises(NotFound):
        await another.entries.get(SHOP, LIGHTHOUSE.hash)
    assert await another.cache.find(LIGHTHOUSE, UNLIMITED_PERMIT) is None
    comes_back(world, snapshot)
    world.index.hits = hits
    again = await ask(another)

    assert again.outcome == LookupOutcome.MISS
    assert again.entry.image_id != old.entry.image_id
    assert (await ask(replica)).hits == 1


async def test_what_was_replaced_stays_so(
    world: World, replica: Replica, another: Replica
) -> None:
    """A replaced entry that comes back gives way to the manifest's."""
    await ask(replica)
    await another.cache.read(await ask(another))
    snapshot = dict(world.index.entries)
    await refresh(replica)
    current = (await ask(replica)).entry.image_id
    comes_back(world, snapshot)

    seen = await another.entries.get(SHOP, LIGHTHOUSE.hash)
    # What a generation that is left behind came to.
    found = await another.parts.painter.found(SHOP, LIGHTHOUSE.hash)
    answers = [await ask(another), await ask(replica)]

    assert seen.entry.image_id == current
    assert found is not None
    assert found.image_id == current
    assert {answer.entry.image_id for answer in answers} == {current}
    assert world.provider.count == 2


async def test_an_entry_with_an_unreadable_manifest_keeps_its_hits(
    world: World, replica: Replica
) -> None:
    """An entry whose manifest is damaged is painted anew, and its hits go on."""
    old = await ask(replica)
    assert (await ask(replica)).hits == 1
    (manifest,) = world.manifests
    world.store.objects[manifest].data = b'{"version": 1'
    comes_back(world, world.index.entries)

    new = await ask(replica)
    assert new.outcome == LookupOutcome.MISS
    assert new.entry.image_id != old.entry.image_id
    assert ((await ask(replica)).hits or 0) > 1


async def test_a_manifest_is_looked_at_once(world: World, replica: Replica) -> None:
    """Each prompt's manifest is read once for each new run id of Redis."""
    await ask(replica)
    comes_back(world, world.index.entries)
    before = world.store.calls["get"]
    for _ in range(3):
        assert (await ask(replica)).outcome == LookupOutcome.HIT
    once = world.store.calls["get"]
    comes_back(world, world.index.entries)
    await ask(replica)

    # The picture itself is in memory.
    assert (once - before, world.store.calls["get"] - once) == (1, 1)


async def test_a_herd_in_doubt_reads_a_manifest_twice(
    world: World, replica: Replica
) -> None:
    """A hundred requests for one doubted prompt cost the store two reads at most."""
    await ask(replica)
    comes_back(world, world.index.entries)
    before, looked_up = world.store.calls["get"], world.index.calls["look_up"]
    gates = [world.store.before("get") for _ in range(100)]
    asking = asyncio.gather(*(ask(replica) for _ in range(100)))
    await gates[0].reached()
    await until(lambda: world.index.calls["look_up"] - looked_up == 100)
    for gate in gates:
        gate.open()
    answers = await asking

    assert {answer.outcome for answer in answers} == {LookupOutcome.HIT}
    assert world.store.calls["get"] - before <= 2


async def test_without_its_manifest_nothing_is_believed(
    world: World, replica: Replica
) -> None:
    """An entry that may be older is an outage while the store is unavailable."""
    await ask(replica)
    comes_back(world, world.index.entries)
    world.store.is_away = True

    with pytest.raises(StorageUnavailable):
        await ask(replica)


async def test_what_was_painted_in_doubt_is_believed(
    world: World, replica: Replica, another: Replica
) -> None:
    """A replica compares nothing that it paints itself, until the next doubt."""
    comes_back(world, {})
    await ask(replica)
    before = world.store.calls["get"]
    assert (await ask(replica)).outcome == LookupOutcome.HIT
    painted = world.store.calls["get"]
    snapshot = dict(world.index.entries)
    await another.purge(SHOP, LIGHTHOUSE.hash)
    comes_back(world, snapshot)

    assert (await ask(replica)).outcome == LookupOutcome.MISS
    assert painted == before


@pytest.mark.parametrize("by_hits", [False, True])
async def test_what_was_purged_is_not_listed(
    world: World, replica: Replica, another: Replica, *, by_hits: bool
) -> None:
    """A list leaves out what was purged, and takes it off."""
    fox = (await ask(replica, FOX)).entry
    await ask(replica)
    await Snapshot.comes_back_after_a_purge(replica, another)

    assert await listed(another, by_hits=by_hits) == [fox.image_id]
    assert LIGHTHOUSE.hash not in world.index.entries
    assert set(world.projects["acme/shop"].recency) == {FOX.hash}
    assert await counted(replica) == (1, fox.size)


async def test_what_was_replaced_is_listed_as_it_is_now(
    replica: Replica, another: Replica
) -> None:
    """A list shows the picture that the manifest names, with its hits."""
    await ask(replica)
    await ask(replica)
    snapshot = await Snapshot.of(replica)
    refreshed = await refresh(replica)
    await snapshot.comes_back(replica, another)

    seen, _ = await another.parts.listed.page(SHOP, by_hits=True, after=None, limit=9)

    again, _ = await replica.parts.listed.page(SHOP, by_hits=True, after=None, limit=9)

    for page in (seen, again):
        assert [(one.entry.image_id, one.hits) for one in page] == [
            (refreshed.entry.image_id, 1)
        ]


async def test_statistics_count_no_ghosts(replica: Replica, another: Replica) -> None:
    """Statistics of each replica count what the manifests name, once."""
    for number in range(150):
        await ask(replica, PromptKey(SHOP, Parameters(f"a red fox, {number}")))
    await ask(replica)
    snapshot = await Snapshot.of(replica)
    for number in range(100):
        key = PromptKey(SHOP, Parameters(f"a red fox, {number}"))
        await replica.purge(SHOP, key.hash)
    refreshed = await refresh(replica)
    foxes = [len(a_picture(number)) for number in range(101, 151)]
    kept = (51, sum(foxes) + refreshed.entry.size)
    await snapshot.comes_back(replica, another)

    both = await asyncio.gather(counted(replica), counted(another))

    assert set(both) == {kept}
    assert await counted(replica) == kept


async def test_a_list_is_compared_once(world: World, replica: Replica) -> None:
    """Statistics read each manifest once for each run of Redis, a bounded number."""
    for number in range(40):
        await ask(replica, PromptKey(SHOP, Parameters(f"a red fox, {number}")))
    await counted(replica)
    before = world.store.calls["get"]
    comes_back(world, world.index.entries)
    held = [world.store.before("get") for _ in range(MANIFESTS_AT_ONCE)]
    counting = asyncio.create_task(counted(replica))
    for gate in held:
        await gate.reached()
    at_once = world.store.calls["get"] - before
    for gate in held:
        gate.open()
    await counting
    await counted(replica)
    await listed(replica)

    assert at_once == MANIFESTS_AT_ONCE
    assert world.store.calls["get"] - before == 40


async def test_statistics_do_not_wait_for_a_long_list(
    world: World, replica: Replica
) -> None:
    """Statistics answer in time, and the comparison goes on in the background."""
    await ask(replica)
    await Snapshot.comes_back_after_a_purge(replica)
    parts = replica.parts.listed
    lists = ListedEntries(
        index=parts.index,
        older_entries=parts.older_entries,
        statistics=parts.statistics,
        wait_seconds=0.01,
    )
    slow = world.store.before("get")

    early = await lists.sums(SHOP)
    slow.open()

    async def is_right() -> bool:
        return bool((await lists.sums(SHOP))["entries"] == 0)

    assert early["entries"] == 1
    await until(is_right)


async def test_a_list_without_its_manifests_is_an_outage(
    world: World, replica: Replica
) -> None:
    """A list that may be older is an outage without the store; statistics go on."""
    await ask(replica)
    comes_back(world, world.index.entries)
    world.store.is_away = True

    with pytest.raises(StorageUnavailable):
        await listed(replica)
    assert (await counted(replica))[0] == 1

    world.store.is_away = False
    assert len(await listed(replica)) == 1


async def test_a_ghost_that_is_painted_meanwhile_stays_listed(
    world: World, replica: Replica, another: Replica
) -> None:
    """A prompt that is painted while its ghost is removed stays in the list.

    1. A list finds no manifest of an older entry. 2. Another replica paints the
    prompt. 3. The list would take it off.
    """
    await ask(replica)
    await Snapshot.comes_back_after_a_purge(replica, another)
    dropped = world.index.after("drop_with_hits")
    listing = asyncio.create_task(listed(replica))
    await dropped.reached()
    painted = await ask(another)
    dropped.open()

    assert await listing == []
    assert await listed(replica) == [painted.entry.image_id]
    assert await counted(replica) == (1, painted.entry.size)


async def test_a_purge_by_age_goes_by_the_manifests(
    world: World, replica: Replica
) -> None:
    """A purge by age leaves a picture that replaced an old one of an older Redis."""
    old = (await ask(replica)).entry
    aged = old._replace(created_ms=old.created_ms - 3_600_000)
    comes_back(world, {LIGHTHOUSE.hash: aged.to_record()})

    assert await replica.parts.bulk_purge.older_than(SHOP, 1800) == Purged()
    assert len(world.images) == 1
