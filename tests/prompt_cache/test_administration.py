"""Entries are shown, listed, purged and refreshed."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from app.errors import (
    CacheUnavailable,
    NotFound,
    ProviderFailed,
    StillGenerating,
    StorageUnavailable,
)
from app.prompt_cache.cache import LookupOutcome
from app.prompt_cache.entry.prompt_key import Parameters, PromptKey
from app.prompt_cache.painting import overlap
from app.storage.storage_key import Project
from tests.fakes import (
    LIGHTHOUSE,
    SHOP,
    SOON_SECONDS,
    UNLIMITED_PERMIT,
    a_picture,
    a_prompt_cache,
    leases_of,
)
from tests.prompt_cache.cache_requests import (
    FOX,
    ask,
    refresh,
    refresh_that_loses_redis,
)
from tests.until import until

if TYPE_CHECKING:
    from app.prompt_cache.seen_entry import SeenEntry
    from tests.fakes import Gate, Replica, World

ZOO = Project("acme", "zoo")


async def listed(replica: Replica, *, by_hits: bool = False) -> list[str]:
    """Return the prompts of the shop's list."""
    seen, _ = await replica.parts.listed.page(
        SHOP, by_hits=by_hits, after=None, limit=50
    )
    return [entry.entry.parameters.prompt for entry in seen]


async def test_an_entry_has_the_fields_of_the_contract(replica: Replica) -> None:
    """An entry has the contract's fields, and reading it does not count."""
    painted = (await ask(replica)).entry
    unseen = await replica.entries.get(SHOP, LIGHTHOUSE.hash)
    await ask(replica)
    seen = await replica.entries.get(SHOP, LIGHTHOUSE.hash)

    assert unseen.last_accessed_at is None
    assert seen.last_accessed_at is not None
    assert datetime.now(UTC) - seen.last_accessed_at < timedelta(minutes=1)
    assert seen.as_json() == {
        "prompt_hash": LIGHTHOUSE.hash,
        "prompt": "a lighthouse in a storm",
        "model": "default",
        "price": painted.price,
        "parameters": LIGHTHOUSE.parameters.as_json(),
        "hits": 1,
        "last_accessed_at": seen.last_accessed_at,
        "created_at": painted.created_at,
        "image_id": painted.image_id,
        "storage_key": f"acme/shop/generated/{painted.image_id}.png",
        "content_type": "image/png",
        "size": len(a_picture(1)),
        "width": 16,
        "height": 16,
        "provenance": {
            "c2pa": False,
            "c2pa_lost": False,
            "digital_source_type": None,
            "marked": False,
        },
    }


async def test_an_entry_that_only_the_ledger_knows_is_shown(
    world: World, replica: Replica
) -> None:
    """After the loss of Redis an entry is shown from its manifest, without hits."""
    painted = await ask(replica)
    world.index.lose_everything()

    seen = await replica.entries.get(SHOP, LIGHTHOUSE.hash)

    assert (seen.entry.image_id, seen.hits) == (painted.entry.image_id, 0)


async def test_an_entry_that_cannot_be_read_is_managed_by_its_manifest(
    world: World, replica: Replica
) -> None:
    """An unreadable entry is shown from its manifest, listed again, and purged."""
    painted = await ask(replica)
    await ask(replica, FOX)
    world.index.entries[LIGHTHOUSE.hash] = b"another version's"

    listed, _ = await replica.parts.listed.page(SHOP, by_hits=True, after=None, limit=9)
    seen = await replica.entries.get(SHOP, LIGHTHOUSE.hash)
    await replica.purge(SHOP, LIGHTHOUSE.hash)

    hashes = {entry.entry.prompt_hash for entry in listed}
    assert hashes == {FOX.hash, LIGHTHOUSE.hash}
    assert seen.entry.image_id == painted.entry.image_id
    assert LIGHTHOUSE.hash not in world.index.entries
    assert len(world.images) == 1


async def test_entries_of_another_project_are_not_there(replica: Replica) -> None:
    """An entry of another project is not found by any call."""
    await ask(replica)

    with pytest.raises(NotFound):
        await replica.entries.get(ZOO, LIGHTHOUSE.hash)
    with pytest.raises(NotFound):
        await replica.entries.refresh(
            ZOO, LIGHTHOUSE.hash, permit=UNLIMITED_PERMIT, wait_seconds=30
        )
    with pytest.raises(NotFound):
        await replica.purge(ZOO, LIGHTHOUSE.hash)

    assert (await ask(replica)).outcome == LookupOutcome.HIT


async def test_lists_go_page_by_page(replica: Replica) -> None:
    """A page has a cursor to the next one, and the last page has none."""
    for number in range(5):
        await ask(replica, PromptKey(SHOP, Parameters(f"a red fox, {number}")))
        await ask(replica, PromptKey(SHOP, Parameters(f"a red fox, {number}")))

    first, place = await replica.parts.listed.page(
        SHOP, by_hits=True, after=None, limit=3
    )
    second, end = await replica.parts.listed.page(
        SHOP, by_hits=True, after=place, limit=3
    )

    seen = {entry.entry.parameters.prompt for entry in (*first, *second)}
    assert seen == {f"a red fox, {number}" for number in range(5)}
    assert (len(first), len(second), end) == (3, 2, None)


async def test_a_purge_leaves_nothing_behind(world: World, replica: Replica) -> None:
    """A purge removes entry, count, manifest, picture and cached bytes."""
    first = await ask(replica)
    await ask(replica)

    await replica.purge(SHOP, LIGHTHOUSE.hash)

    assert world.store.objects == {}
    assert await world.index.peek([LIGHTHOUSE.hash]) == [None]
    assert replica.parts.pictures.cached_bytes(first.entry) is None
    assert world.index.holder_now(LIGHTHOUSE.hash) is None
    assert await listed(replica) == []
    assert (await replica.statistics.read("acme/shop"))["bytes_stored"] == 0
    with pytest.raises(NotFound):
        await replica.entries.get(SHOP, LIGHTHOUSE.hash)
    again = await ask(replica)
    assert again.outcome == LookupOutcome.MISS
    assert (await ask(replica)).hits == 1
    assert await listed(replica) == ["a lighthouse in a storm"]


async def test_a_purge_on_one_replica_and_a_painting_on_another_are_listed_in_order(
    replica: Replica, another: Replica
) -> None:
    """A painting after a purge on another replica is in the list."""
    await ask(replica)
    await another.purge(SHOP, LIGHTHOUSE.hash)
    emptied = await listed(replica)
    await ask(another)
    await replica.purge(SHOP, LIGHTHOUSE.hash)
    await ask(another)

    assert emptied == []
    assert await listed(replica) == ["a lighthouse in a storm"]
    statistics = await another.statistics.read("acme/shop")
    assert statistics["entries"] == 1
    assert statistics["bytes_stored"] == len(a_picture(3))


async def test_a_purge_of_what_only_the_ledger_knows(
    world: World, replica: Replica
) -> None:
    """A prompt that only the ledger has can be purged."""
    await ask(replica)
    world.index.lose_everything()

    await replica.purge(SHOP, LIGHTHOUSE.hash)

    assert world.store.objects == {}


async def test_a_purge_of_a_failure_lets_it_be_tried_again(
    world: World, replica: Replica
) -> None:
    """A purge of a remembered failure lets the prompt be painted again."""
    world.provider.script.append(ProviderFailed("It broke down."))
    with pytest.raises(ProviderFailed):
        await ask(replica)
    with pytest.raises(NotFound):
        await replica.purge(ZOO, LIGHTHOUSE.hash)

    await replica.purge(SHOP, LIGHTHOUSE.hash)

    assert (await ask(replica)).outcome == LookupOutcome.MISS


async def test_a_purge_of_nothing_says_so(world: World, replica: Replica) -> None:
    """A purge of an unpainted prompt is not found and leaves no lease."""
    with pytest.raises(NotFound):
        await replica.purge(SHOP, LIGHTHOUSE.hash)

    assert world.index.holder_now(LIGHTHOUSE.hash) is None


async def test_a_purge_during_a_painting_ends_at_its_bound(world: World) -> None:
    """A purge during a painting ends with `StillGenerating` at its bound."""
    replica = a_prompt_cache(world, purge_waits_seconds=0.02)
    gate = world.provider.before("paint")
    asked = asyncio.create_task(ask(replica))
    await gate.reached()

    with pytest.raises(StillGenerating):
        await replica.purge(SHOP, LIGHTHOUSE.hash)

    gate.open()
    assert (await asked).outcome == LookupOutcome.MISS


async def test_a_purge_waits_for_a_painting_that_ends_soon(
    world: World, replica: Replica
) -> None:
    """A purge that waits for a painting removes its picture."""
    gate = world.provider.before("paint")
    asked = asyncio.create_task(ask(replica))
    await gate.reached()
    refused = world.index.after("hold")
    purging = asyncio.create_task(replica.purge(SHOP, LIGHTHOUSE.hash))
    await refused.reached()
    gate.open()
    await asked
    refused.open()

    await purging

    assert world.store.objects == {}


async def test_a_purge_that_stalled_past_its_lease_must_be_repeated(
    world: World, replica: Replica
) -> None:
    """A purge that lost its lease removes nothing and must be repeated."""
    painted = await ask(replica)
    stalled = world.index.before("forget")
    purging = asyncio.create_task(replica.purge(SHOP, LIGHTHOUSE.hash))
    await stalled.reached()
    world.index.expire_lease(LIGHTHOUSE.hash)
    stalled.open()
    with pytest.raises(StillGenerating):
        await purging

    assert (await ask(replica)).entry.image_id == painted.entry.image_id
    await replica.purge(SHOP, LIGHTHOUSE.hash)
    assert world.store.objects == {}


async def test_a_purge_without_its_dependencies_removes_nothing(
    world: World, replica: Replica
) -> None:
    """A purge without Redis or the store is an outage."""
    await ask(replica)
    before = set(world.store.objects)
    world.index.is_away = True
    with pytest.raises(CacheUnavailable):
        await replica.purge(SHOP, LIGHTHOUSE.hash)
    world.index.is_away, world.store.is_away = False, True
    with pytest.raises(StorageUnavailable):
        await replica.purge(SHOP, LIGHTHOUSE.hash)

    world.store.is_away = False
    assert set(world.store.objects) == before
    assert (await ask(replica)).outcome == LookupOutcome.HIT


async def test_a_refresh_replaces_the_picture_and_keeps_the_hits(
    world: World, replica: Replica
) -> None:
    """A refresh serves the new picture, removes the old one and keeps the hits."""
    old = await ask(replica)
    await ask(replica)

    seen = await refresh(replica)

    assert seen.entry.image_id != old.entry.image_id
    assert seen.hits == 1
    assert world.images == [str(seen.entry.storage_key)]
    assert len(world.manifests) == 1
    answer = await ask(replica)
    assert (answer.outcome, answer.hits) == (LookupOutcome.HIT, 2)
    assert await replica.cache.read(answer) == a_picture(2)
    statistics = await replica.statistics.read("acme/shop")
    assert (statistics["misses"], statistics["entries"]) == (2, 1)
    assert statistics["bytes_stored"] == len(a_picture(2))


async def test_the_old_picture_is_served_until_the_new_one_is_committed(
    world: World, replica: Replica, another: Replica
) -> None:
    """During a refresh the old picture is served; in its last step readers wait."""
    old = await ask(replica)
    painting = world.provider.before("paint")
    committing = world.index.before("commit")
    refreshing = asyncio.create_task(refresh(replica))
    await painting.reached()
    for reader in (replica, another):
        reader.parts.hot_tier._pictures.clear()
        answer = await ask(reader)
        assert answer.entry.image_id == old.entry.image_id
        assert await reader.cache.read(answer) == a_picture(1)
    painting.open()
    await committing.reached()
    readers = [asyncio.create_task(ask(reader)) for reader in (replica, another)]
    committing.open()

    new = (await refreshing).entry
    answers = await asyncio.gather(*readers)
    assert {answer.entry.image_id for answer in answers} == {new.image_id}


async def test_refreshes_that_overlap_are_one_payment(
    world: World, replica: Replica, another: Replica
) -> None:
    """Overlapping refreshes on two replicas pay once and get the same picture."""
    await ask(replica)
    gate = world.provider.before("paint")
    refreshing = [asyncio.create_task(refresh(replica)) for _ in range(3)]
    await gate.reached()
    followed = world.index.after("hold")
    refreshing += [asyncio.create_task(refresh(another)) for _ in range(3)]
    await followed.reached()
    followed.open()
    gate.open()

    seen = await asyncio.gather(*refreshing)

    assert len({entry.entry.image_id for entry in seen}) == 1
    assert world.provider.count == 2
    assert len(world.images) == 1
    statistics = await replica.statistics.read("acme/shop")
    assert statistics["bytes_stored"] == len(a_picture(2))


async def test_a_refresh_that_fails_keeps_the_old_picture(
    world: World, replica: Replica
) -> None:
    """A failed refresh raises for its caller, and others get the old picture."""
    old = await ask(replica)
    world.provider.script.append(ProviderFailed("It broke down."))

    for _ in range(2):
        with pytest.raises(ProviderFailed):
            await refresh(replica)

    assert (await ask(replica)).entry.image_id == old.entry.image_id
    assert world.images == [str(old.entry.storage_key)]
    assert world.provider.count == 2


async def test_a_refresh_that_takes_too_long_goes_on(
    world: World, replica: Replica
) -> None:
    """A refresh goes on after its caller's time and gives a generation's id."""
    old = await ask(replica)
    gate = world.provider.before("paint")
    with pytest.raises(StillGenerating) as still:
        await replica.entries.refresh(
            SHOP,
            LIGHTHOUSE.hash,
            permit=UNLIMITED_PERMIT,
            wait_seconds=0,
            wants_id=True,
        )
    await gate.reached()
    gate.open()
    await replica.entries.refreshes.drain()

    seen = await replica.entries.get(SHOP, LIGHTHOUSE.hash)
    assert seen.entry.image_id != old.entry.image_id
    assert still.value.generation_id is not None


async def test_a_refresh_of_nothing_says_so(world: World, replica: Replica) -> None:
    """A refresh of an unpainted prompt is not found."""
    with pytest.raises(NotFound):
        await refresh(replica)

    assert world.provider.count == 0


async def test_a_refresh_of_what_is_purged_meanwhile_says_so(
    world: World, replica: Replica, another: Replica
) -> None:
    """A refresh that comes after a purge is not found, and nothing is painted."""
    await ask(replica)
    late = world.index.before("hold")
    refreshing = asyncio.create_task(refresh(replica))
    await late.reached()
    await another.purge(SHOP, LIGHTHOUSE.hash)
    late.open()

    with pytest.raises(NotFound):
        await refreshing
    assert world.provider.count == 1


async def test_a_refresh_whose_entry_is_not_written_is_restored_from_the_ledger(
    world: World, replica: Replica, another: Replica
) -> None:
    """A refresh that loses Redis before its entry is restored from its manifest.

    The old entry was removed before the manifest was replaced, so the next request
    restores the ledger's picture and pays nothing.
    """
    old = await ask(replica)
    await refresh_that_loses_redis(world, replica, world.index.before("commit"))
    world.index.expire_lease(LIGHTHOUSE.hash)

    answer = await ask(another)

    assert answer.entry.image_id != old.entry.image_id
    assert await another.cache.read(answer) == a_picture(2)
    assert (await ask(replica)).entry.image_id == answer.entry.image_id
    assert world.provider.count == 2
    assert len(world.images) == 1


async def test_a_refresh_replaces_nothing_while_redis_is_away(
    world: World, replica: Replica, another: Replica
) -> None:
    """A refresh without Redis waits, and replaces the picture when Redis is back."""
    old = await ask(replica)
    painting = world.provider.before("paint")
    refreshing = asyncio.create_task(refresh(replica))
    await painting.reached()
    world.index.is_away = True
    painting.open()
    during = await ask(another)
    world.index.is_away = False
    seen = await refreshing

    assert during.entry.image_id == old.entry.image_id
    assert seen.entry.image_id != old.entry.image_id
    assert (await ask(another)).entry.image_id == seen.entry.image_id
    assert world.provider.count == 2


@pytest.mark.parametrize("seconds", [0, 0.3])
async def test_a_refresh_gives_up_where_redis_stays_away(
    world: World, seconds: float
) -> None:
    """A refresh gives up if Redis stays away, and removes its new picture."""
    replica = a_prompt_cache(world, max_storing_time=timedelta(seconds=seconds))
    old = await ask(replica)
    await refresh_that_loses_redis(world, replica, world.provider.before("paint"))

    assert world.images == [str(old.entry.storage_key)]
    assert (await ask(replica)).entry.image_id == old.entry.image_id


async def test_a_purge_after_an_unfinished_refresh_leaves_nothing(
    world: World, replica: Replica
) -> None:
    """A purge after an unfinished refresh removes both pictures."""
    await ask(replica)
    world.index.fail_next("commit")
    await refresh(replica)

    await replica.purge(SHOP, LIGHTHOUSE.hash)

    assert world.store.objects == {}


async def test_a_purge_waits_for_its_lease_without_the_news(
    world: World, replica: Replica
) -> None:
    """A purge gets a lease that expired without an event."""
    await ask(replica)
    gone = leases_of(world, timedelta(seconds=0.05)).of_flight(
        LIGHTHOUSE.hash, "a replica that died"
    )
    await gone.hold()

    async with asyncio.timeout(SOON_SECONDS):
        await replica.purge(SHOP, LIGHTHOUSE.hash)

    assert world.store.objects == {}


async def stored_and_unanswered(
    world: World, replica: Replica
) -> tuple[asyncio.Task[SeenEntry], Gate]:
    """Start a refresh; return it with the gate before its answer, once it is there."""
    for _ in ("begun", "stored"):
        world.index.before("mark_refresh").open()
    unanswered = world.index.before("mark_refresh")
    refreshing = asyncio.create_task(refresh(replica))
    await unanswered.reached()
    return refreshing, unanswered


async def test_a_refresh_that_arrives_before_anothers_answer_gets_its_picture(
    world: World, replica: Replica, another: Replica
) -> None:
    """C12: a refresh that begins before another one has answered gets its picture."""
    await ask(replica)
    first, unanswered = await stored_and_unanswered(world, replica)
    overlapping = asyncio.create_task(refresh(another))
    await until(lambda: world.index.calls["refresh_mark"] == 1)
    second = await overlapping
    unanswered.open()

    assert (await first).entry.image_id == second.entry.image_id
    assert world.provider.count == 2


async def test_a_refresh_paints_again_where_anothers_answer_never_goes_out(
    world: World, replica: Replica, another: Replica, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A refresh whose replica dies before its answer does not stop later ones."""
    monkeypatch.setattr(overlap, "KEPT_FOR", timedelta(milliseconds=50))
    await ask(replica)
    first, _ = await stored_and_unanswered(world, replica)
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)

    await asyncio.sleep(0.1)
    await refresh(another)

    assert world.provider.count == 3


async def test_a_refresh_after_anothers_answer_paints_again(
    world: World, replica: Replica, another: Replica
) -> None:
    """A refresh after another one has answered paints again."""
    await ask(replica)
    first = await refresh(replica)
    second = await refresh(another)

    assert first.entry.image_id != second.entry.image_id
    assert world.provider.count == 3


async def test_refreshes_aimed_at_each_others_end_are_one_payment_or_follow(
    world: World, replica: Replica, another: Replica
) -> None:
    """C12: two refreshes that overlap never pay twice."""
    await ask(replica)

    async def timed(at: Replica) -> tuple[float, float, str]:
        began = time.time()
        seen = await refresh(at)
        return began, time.time(), seen.entry.image_id

    for number in range(40):
        first = asyncio.create_task(timed(replica))
        for _ in range(number):
            await asyncio.sleep(0)
        paid = world.provider.count
        one, other = await asyncio.gather(first, timed(another))
        if one[2] != other[2]:
            assert other[0] > one[1]
            paid += 1
        assert world.provider.count <= paid + 1
