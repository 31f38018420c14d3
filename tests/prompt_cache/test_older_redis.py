"""An older Redis comes back; purged and replaced pictures are not served."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from app.errors import NotFound, StorageUnavailable
from app.prompt_cache.cache import LookupOutcome
from tests.fakes import LIGHTHOUSE, SHOP, UNLIMITED_PERMIT

if TYPE_CHECKING:
    from app.prompt_cache.cache import Answer
    from tests.fakes import Replica, World


async def ask(replica: Replica) -> Answer:
    """Request the lighthouse and wait for it."""
    return await replica.cache.get_or_generate(
        LIGHTHOUSE, permit=UNLIMITED_PERMIT, wait_seconds=30
    )


def comes_back(world: World, entries: dict[str, bytes]) -> None:
    """Restore Redis with *entries*, under another run id."""
    world.index.entries = dict(entries)
    world.index.doubts += 1


async def test_what_was_purged_stays_so(
    world: World, replica: Replica, another: Replica
) -> None:
    """A purged entry that comes back is not served."""
    old = await ask(replica)
    assert await another.cache.read(await ask(another)) is not None
    snapshot = dict(world.index.entries)
    await replica.purge(SHOP, LIGHTHOUSE.hash)
    comes_back(world, snapshot)

    with pytest.raises(NotFound):
        await another.entries.get(SHOP, LIGHTHOUSE.hash)
    assert await another.cache.find(LIGHTHOUSE, UNLIMITED_PERMIT) is None
    comes_back(world, snapshot)
    again = await ask(another)

    assert again.outcome == LookupOutcome.MISS
    assert again.entry.image_id != old.entry.image_id


async def test_what_was_replaced_stays_so(
    world: World, replica: Replica, another: Replica
) -> None:
    """A replaced entry that comes back gives way to the manifest's."""
    await ask(replica)
    await another.cache.read(await ask(another))
    snapshot = dict(world.index.entries)
    await replica.entries.refresh(
        SHOP, LIGHTHOUSE.hash, permit=UNLIMITED_PERMIT, wait_seconds=30
    )
    current = (await ask(replica)).entry.image_id
    comes_back(world, snapshot)

    seen = await another.entries.get(SHOP, LIGHTHOUSE.hash)
    answers = [await ask(another), await ask(replica)]

    assert seen.entry.image_id == current
    assert {answer.entry.image_id for answer in answers} == {current}
    assert world.provider.count == 2


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


async def test_without_its_manifest_nothing_is_believed(
    world: World, replica: Replica
) -> None:
    """An entry that may be older is an outage while the store is unavailable."""
    await ask(replica)
    comes_back(world, world.index.entries)
    world.store.is_away = True

    with pytest.raises(StorageUnavailable):
        await ask(replica)
