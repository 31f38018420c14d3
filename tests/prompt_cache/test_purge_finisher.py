"""Interrupted purges and refreshes are finished in the background."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from app.errors import NotFound, ServiceError, StorageUnavailable
from app.prompt_cache.cache import LookupOutcome
from app.prompt_cache.purge_note import PurgeNote
from tests.fakes import LIGHTHOUSE, SHOP
from tests.prompt_cache.cache_requests import ask, refresh

if TYPE_CHECKING:
    from app.prompt_cache.cache import Answer
    from tests.fakes import Replica, World

NOTE = f"_system/purges/acme/shop/{LIGHTHOUSE.hash}.json"
# One manifest, one picture, its rendition, and the note that goes last.
DELETIONS = 4


async def with_a_rendition(world: World, answer: Answer) -> str:
    """Store a rendition of an answer's picture; return its key."""
    key = f"acme/shop/renditions/{answer.entry.image_id}/w64.webp"
    await world.store.put(key, b"small", media_type="image/webp")
    return key


async def purge_that_dies(world: World, replica: Replica, *, after: int) -> None:
    """Start a purge and kill it *after* so many deletions."""
    gates = [world.store.before("delete") for _ in range(after + 1)]
    purging = asyncio.create_task(replica.purge(SHOP, LIGHTHOUSE.hash))
    for gate in gates[:-1]:
        await gate.reached()
        gate.open()
    await gates[-1].reached()
    purging.cancel()
    with suppress(asyncio.CancelledError):
        await purging


@pytest.mark.parametrize("lost", ["nothing", "everything"])
@pytest.mark.parametrize("number", range(DELETIONS))
async def test_a_purge_that_fails_at_any_deletion_is_finished(
    world: World, replica: Replica, another: Replica, number: int, lost: str
) -> None:
    """A purge whose replica dies after any deletion is finished, even after a flush."""
    await with_a_rendition(world, await ask(replica))
    await purge_that_dies(world, replica, after=number)
    assert NOTE in world.store.objects
    if lost == "everything":
        world.index.lose_everything()

    await another.parts.purge_finisher.look()

    assert world.store.objects == {}
    assert await world.index.peek([LIGHTHOUSE.hash]) == [None]
    with pytest.raises(NotFound):
        await another.purge(SHOP, LIGHTHOUSE.hash)


async def test_a_purge_goes_on_without_its_client(
    world: World, replica: Replica
) -> None:
    """A purge whose caller is cancelled finishes."""
    await ask(replica)
    gate = world.store.before("delete")
    purge = replica.parts.purge
    asking = asyncio.create_task(purge.owned(purge.run(SHOP, LIGHTHOUSE.hash)))
    await gate.reached()
    asking.cancel()
    gate.open()
    await purge.drain()

    assert world.store.objects == {}


async def test_what_was_painted_since_stays(
    world: World, replica: Replica, another: Replica
) -> None:
    """A picture painted after an interrupted purge stays."""
    await ask(replica)
    await purge_that_dies(world, replica, after=1)
    painted = await ask(another)

    await another.parts.purge_finisher.look()

    assert painted.outcome == LookupOutcome.MISS
    assert (await ask(replica)).entry.image_id == painted.entry.image_id
    assert world.images == [str(painted.entry.storage_key)]
    assert NOTE not in world.store.objects
    assert (await another.statistics.read("acme/shop"))["entries"] == 1


async def test_a_picture_that_a_refresh_could_not_delete_goes(
    world: World, replica: Replica, another: Replica
) -> None:
    """The old picture of a refresh and its renditions are removed later."""
    rendition = await with_a_rendition(world, await ask(replica))
    world.store.fail_next("delete")
    await refresh(replica)
    assert len(world.images) == 2

    await another.parts.purge_finisher.look()

    current = (await ask(replica)).entry
    assert world.images == [str(current.storage_key)]
    assert rendition not in world.store.objects
    assert NOTE not in world.store.objects


async def test_a_purge_takes_what_a_refresh_could_not_delete(
    world: World, replica: Replica, another: Replica
) -> None:
    """A purge removes a picture that a refresh could not delete."""
    await ask(replica)
    world.store.fail_next("delete")
    await refresh(replica)

    await another.purge(SHOP, LIGHTHOUSE.hash)

    assert world.store.objects == {}


async def test_a_refresh_that_came_to_nothing_removes_nothing(
    world: World, replica: Replica
) -> None:
    """A refresh whose replica died removes nothing."""
    answer = await ask(replica)
    await replica.parts.ledger.note_replaced(answer.entry)

    await replica.parts.purge_finisher.look()

    assert (await ask(replica)).entry.image_id == answer.entry.image_id
    assert len(world.images) == len(world.manifests) == 1
    assert NOTE not in world.store.objects


async def test_a_refresh_leaves_nothing_written_down(
    world: World, replica: Replica
) -> None:
    """A finished refresh leaves no note."""
    await ask(replica)
    await refresh(replica)

    assert len(world.store.objects) == 2


async def test_a_late_refresh_never_undoes_a_purge(
    world: World, replica: Replica, another: Replica
) -> None:
    """A refresh that comes after a purge fails and restores nothing."""
    await ask(replica)
    gate = world.provider.before("paint")
    refreshing = asyncio.create_task(refresh(replica))
    await gate.reached()
    world.index.lose_everything()
    await another.purge(SHOP, LIGHTHOUSE.hash)
    gate.open()

    with pytest.raises(NotFound):
        await refreshing

    assert world.store.objects == {}
    assert world.index.entries == {}


async def test_a_full_cache_can_be_purged(world: World, replica: Replica) -> None:
    """A full Redis can be purged."""
    await ask(replica)
    world.index.is_full = True

    await replica.purge(SHOP, LIGHTHOUSE.hash)

    assert world.store.objects == {}


async def test_all_walks_what_is_written_down(
    world: World, replica: Replica, another: Replica
) -> None:
    """A purge of all removes pictures that only a note names."""
    await ask(replica)
    await purge_that_dies(world, replica, after=1)
    world.index.lose_everything()

    purged = await another.parts.bulk_purge.all(SHOP)

    assert (purged.deleted, purged.failed, purged.more) == (1, 0, False)
    assert world.store.objects == {}


async def test_a_note_of_a_later_version_is_an_outage_of_its_prompt(
    world: World, replica: Replica
) -> None:
    """A note of a later version is an outage and stays unchanged."""
    await ask(replica)
    later = b'{"version": 2}'
    await world.store.put(NOTE, later, media_type="application/json")

    await replica.parts.purge_finisher.look()
    with pytest.raises(StorageUnavailable):
        await replica.purge(SHOP, LIGHTHOUSE.hash)

    assert world.store.objects[NOTE].data == later
    assert len(world.images) == len(world.manifests) == 1


async def test_a_note_of_the_first_release_is_finished(
    world: World, replica: Replica
) -> None:
    """A note of the first release is read, without foreign keys."""
    answer = await ask(replica)
    key = str(answer.entry.storage_key)
    note = PurgeNote.from_bytes(
        SHOP, b'{"%b": 5, "acme/zoo/generated/x.png": 5}' % key.encode()
    )

    assert note == PurgeNote({key: 5})


async def test_an_outage_of_a_look_is_raised(world: World, replica: Replica) -> None:
    """A look at notes raises if the store can't be listed."""
    world.store.fail_next("list")

    with pytest.raises((ServiceError, ExceptionGroup)):
        await replica.parts.purge_finisher.look()
