"""`rebuild` restores a project's entries from its manifests."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from app.errors import CacheUnavailable
from app.prompt_cache.cache import LookupOutcome
from app.prompt_cache.entry.entry import PromptEntry
from app.prompt_cache.entry.prompt_key import Parameters, PromptKey
from app.prompt_cache.rebuild import RebuildCount
from tests.fakes import SHOP, UNLIMITED_PERMIT, leases_of
from tests.prompt_cache.cache_requests import ask

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from app.storage.ports.prompt_index import Holding
    from tests.fakes import Replica, World

    Rebuilding = Callable[..., Awaitable[RebuildCount]]

KEYS = [PromptKey(SHOP, Parameters(f"a red fox, {number}")) for number in range(4)]


@pytest.fixture
async def rebuild(world: World, replica: Replica) -> Rebuilding:
    """Paint four foxes, empty Redis, and return a function that rebuilds."""
    for key in KEYS:
        await ask(replica, key)
    await replica.statistics.apply()
    world.index.lose_everything()
    world.projects.clear()
    return partial(replica.parts.rebuild.run, SHOP, per_second=1_000_000)


async def test_every_entry_is_restored(
    world: World, replica: Replica, rebuild: Rebuilding
) -> None:
    """A rebuild restores every entry and counts them."""
    seen: list[None] = []

    tally = await rebuild(on_progress=lambda: seen.append(None))

    assert tally == RebuildCount(restored=4)
    assert len(seen) == 4
    answer = await ask(replica, KEYS[0])
    assert (answer.outcome, answer.hits) == (LookupOutcome.HIT, 1)
    assert (await replica.statistics.read("acme/shop"))["entries"] == 4
    assert world.provider.count == 4
    assert all(world.index.holder_now(key.hash) is None for key in KEYS)


async def test_an_entry_that_cannot_be_read_is_restored(
    world: World, replica: Replica, rebuild: Rebuilding
) -> None:
    """A rebuild restores an unreadable entry and skips foreign objects."""
    await rebuild()
    world.index.entries[KEYS[0].hash] = b"another version's"
    await world.store.put("acme/shop/prompts/notes.json", b"{}", media_type="text/json")

    assert await rebuild() == RebuildCount(restored=1, known=3)
    answer = await ask(replica, KEYS[0])
    assert answer.outcome == LookupOutcome.HIT


async def test_an_older_entry_gives_way_to_its_manifest(
    world: World, replica: Replica, rebuild: Rebuilding
) -> None:
    """After a Redis that came back older a rebuild restores what was replaced."""
    await rebuild()
    older = dict(world.index.entries)
    refreshed = await replica.entries.refresh(
        SHOP, KEYS[0].hash, permit=UNLIMITED_PERMIT, wait_seconds=30
    )
    world.index.entries, world.index.doubts = older, 1

    assert await rebuild() == RebuildCount(restored=1, known=3)
    entry = PromptEntry.of_key(KEYS[0], world.index.entries[KEYS[0].hash])
    assert entry is not None
    assert entry.image_id == refreshed.entry.image_id


async def test_a_second_rebuild_passes_over_what_is_there(
    world: World, rebuild: Rebuilding
) -> None:
    """A second rebuild writes nothing."""
    await rebuild()
    commits = world.index.calls["commit"]

    assert await rebuild() == RebuildCount(known=4)
    assert world.index.calls["commit"] == commits


async def test_a_rebuild_completes_the_list(
    world: World, replica: Replica, rebuild: Rebuilding
) -> None:
    """A rebuild adds entries that the list lacks."""
    await rebuild()
    await replica.statistics.apply()
    world.projects.clear()
    await rebuild()

    assert (await replica.statistics.read("acme/shop"))["entries"] == 4


async def test_a_rebuild_that_was_interrupted_goes_on(
    world: World, rebuild: Rebuilding
) -> None:
    """A rebuild after an interrupted one restores the rest."""
    entries = 0

    def interrupt() -> None:
        """Make Redis unavailable after the second entry."""
        nonlocal entries
        entries += 1
        world.index.is_away = entries == 2

    with pytest.raises(CacheUnavailable):
        await rebuild(on_progress=interrupt)
    world.index.is_away = False

    assert await rebuild() == RebuildCount(restored=2, known=2)


async def test_a_manifest_without_a_picture_counts_as_lost(
    world: World, rebuild: Rebuilding
) -> None:
    """A manifest that is unreadable or has no picture counts as lost."""
    unreadable, *others = world.manifests
    picture = PromptEntry.from_manifest(world.store.objects[others[0]].data)
    del world.store.objects[str(picture.storage_key)]
    world.store.objects[unreadable].data = b"{"

    assert await rebuild() == RebuildCount(restored=2, lost=2)


async def test_a_prompt_that_is_being_written_is_skipped(
    world: World, rebuild: Rebuilding
) -> None:
    """A prompt whose lease another holds counts as busy and is skipped."""
    lease = leases_of(world).of_flight(KEYS[0].hash, "a painting")
    await lease.hold()

    assert await rebuild() == RebuildCount(restored=3, busy=1)


async def test_a_purge_during_a_rebuild_leaves_nothing_behind(
    world: World, replica: Replica, rebuild: Rebuilding
) -> None:
    """Law 9: a rebuild does not restore an entry that is purged meanwhile."""
    purged = KEYS[0].hash

    async def hold(prompt_hash: str, *arguments: Any, **options: Any) -> Holding:
        """Purge one prompt just before the rebuild gets its lease."""
        if prompt_hash == purged:
            world.index.hold = original  # type: ignore[method-assign]
            await replica.purge(SHOP, purged)
        return await original(prompt_hash, *arguments, **options)

    original = world.index.hold
    world.index.hold = hold  # type: ignore[method-assign]

    tally = await rebuild()

    assert tally.lost == 1
    assert purged not in world.index.entries
    assert len(world.images) == 3
