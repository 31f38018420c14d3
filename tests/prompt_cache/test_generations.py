"""The records of generations, for callers that poll instead of waiting."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING

import orjson
import pytest

from app.errors import (
    CacheUnavailable,
    NotFound,
    PromptRejected,
    QueueFull,
    ShuttingDown,
    StillGenerating,
)
from app.prompt_cache.generations import generations as module
from app.storage.storage_key import Project
from tests.fakes import (
    LIGHTHOUSE,
    SHOP,
    SOON_SECONDS,
    UNLIMITED_PERMIT,
    a_prompt_cache,
    leases_of,
)
from tests.prompt_cache.cache_requests import FOX, ask, asking, promised
from tests.until import until

if TYPE_CHECKING:
    from app.prompt_cache.generations.record import GenerationRecord
    from tests.fakes import Replica, World


async def record_of(replica: Replica, world: World) -> GenerationRecord:
    """Return the record of the only generation."""
    (generation_id,) = world.generations.records
    record = await replica.parts.generations.find(SHOP, generation_id)
    assert record is not None
    return record


def states(world: World) -> list[str]:
    """Return the states of all written records, in order."""
    return [orjson.loads(record)["state"] for record in world.generations.history]


async def test_a_generation_is_done_when_its_picture_is_there(
    world: World, replica: Replica
) -> None:
    """A finished generation has its picture's id and its duration."""
    answer = await asking(replica)

    record = await record_of(replica, world)
    document = record.as_json()

    assert states(world) == ["queued", "done"]
    assert record.has_ended
    assert record.generation_id == answer.generation_id
    assert document["image_id"] == answer.entry.image_id
    assert document["image_url"] == f"/api/v1/images/{answer.entry.storage_key}"
    assert document["prompt_hash"] == LIGHTHOUSE.hash
    assert document["progress"] == 1.0
    assert document["error"] is None
    assert 0 <= document["elapsed_seconds"] < SOON_SECONDS
    assert world.generations.kept_for[record.generation_id] == timedelta(hours=1)


async def test_a_generation_that_failed_says_why(
    world: World, replica: Replica
) -> None:
    """A failed generation has the kind of its error, and no picture."""
    world.provider.script.append(PromptRejected("Not in this shop."))
    with pytest.raises(PromptRejected):
        await asking(replica)

    record = await record_of(replica, world)

    assert (record.state, record.image_id) == ("failed", None)
    assert record.error is not None
    assert (record.error["kind"], record.error["detail"]) == (
        "PromptRejected",
        "Not in this shop.",
    )


async def test_a_generation_that_was_given_up_has_failed(
    world: World, replica: Replica
) -> None:
    """A generation that was cut off has failed."""
    gate = world.provider.before("paint")
    asked = asking(replica)
    await gate.reached()
    await replica.give_up()

    with pytest.raises(ShuttingDown):
        await asked
    assert (await record_of(replica, world)).state == "failed"


async def test_a_generation_that_crashed_has_failed(
    world: World, replica: Replica
) -> None:
    """A generation that crashed has failed."""

    async def put(key: str, data: bytes, **_: object) -> str:
        """Raise an error that no port raises."""
        raise ZeroDivisionError

    world.store.put = put  # type: ignore[method-assign]
    with pytest.raises(ZeroDivisionError):
        await asking(replica)

    assert (await record_of(replica, world)).state == "failed"


async def test_a_generation_has_its_position_and_then_runs(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A generation is queued with its position, then running."""
    monkeypatch.setattr(module, "LOOK_EVERY_SECONDS", 0.001)
    replica = a_prompt_cache(world, concurrency=1)
    first = world.provider.before("paint")
    second = world.provider.before("paint")
    model = replica.parts.painter.asking.models._models["default"]
    release = await model._queue.acquire(
        "another", asyncio.get_running_loop().time() + 30
    )
    asked = asking(replica)
    await until(lambda: len(world.generations.history) >= 2)
    queued = await record_of(replica, world)
    release()
    await first.reached()
    await until(lambda: states(world)[-1] == "running")
    running = await record_of(replica, world)
    first.open()
    second.open()
    await asked

    assert (queued.state, queued.queue_position) == ("queued", 1)
    assert (running.state, running.queue_position) == ("running", None)
    assert not running.has_ended
    assert states(world)[-1] == "done"


async def test_the_end_is_the_last_word(
    world: World, replica: Replica, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An earlier change that is still being written does not follow the end."""
    monkeypatch.setattr(module, "LOOK_EVERY_SECONDS", 0.001)
    painting = world.provider.before("paint")
    begun, writing = (world.generations.before("put") for _ in range(2))
    begun.open()
    asked = asking(replica)
    await painting.reached()
    await writing.reached()
    painting.open()
    await replica.waits_for(LIGHTHOUSE)
    await until(lambda: LIGHTHOUSE.hash in world.index.entries)
    for _ in range(100):
        await asyncio.sleep(0)
    assert "done" not in states(world)
    writing.open()
    await asked

    assert states(world)[-1] == "done"


async def test_a_generation_without_redis_goes_on(
    world: World, replica: Replica
) -> None:
    """A generation whose record can't be written is painted all the same."""
    world.generations.is_away = True

    answer = await asking(replica)

    assert answer.generation_id is not None


async def test_another_project_sees_no_generation(
    world: World, replica: Replica
) -> None:
    """A generation is not found by another project, nor by a wrong id."""
    answer = await asking(replica)
    assert answer.generation_id is not None

    find = replica.parts.generations.find
    assert await find(Project("acme", "zoo"), answer.generation_id) is None
    assert await find(SHOP, "0b9cbb3c-57a5-4b0c-8c2f-3c9b8d3f4f10") is None


async def test_a_generation_that_never_ran_is_soon_forgotten(world: World) -> None:
    """The record of a refused request is kept for a minute only."""
    replica = a_prompt_cache(world, concurrency=1, queue=0)
    gate = world.provider.before("paint")
    running = asking(replica)
    await gate.reached()
    with pytest.raises(QueueFull):
        await ask(replica, FOX)
    gate.open()
    await running

    kept = {
        orjson.loads(world.generations.records[generation_id])["state"]: keep_for
        for generation_id, keep_for in world.generations.kept_for.items()
    }
    assert kept == {"failed": timedelta(minutes=1), "done": timedelta(hours=1)}


async def test_a_record_is_as_small_as_what_it_says(
    world: World, replica: Replica
) -> None:
    """A record contains no empty fields."""
    await asking(replica)
    (kept,) = world.generations.records.values()

    assert set(orjson.loads(kept)) == {
        *("generation_id", "project", "prompt_hash", "created_at", "state"),
        *("elapsed_seconds", "image_id", "image_url"),
    }


async def test_a_request_during_a_purge_is_promised_a_generation(
    world: World, replica: Replica
) -> None:
    """A request during a purge gets a queued generation, which is painted after it."""
    async with leases_of(world).writing(SHOP, LIGHTHOUSE.hash):
        generation_id = await promised(replica)
        queued = await replica.parts.generations.find(SHOP, generation_id)
    await replica.parts.drain()
    done = await replica.parts.generations.find(SHOP, generation_id)

    assert queued is not None
    assert (queued.state, queued.as_json()["queue_position"]) == ("queued", 1)
    assert done is not None
    assert done.state == "done"
    assert world.provider.count == 1


async def test_a_promised_generation_that_another_one_painted_is_done_as_well(
    world: World, replica: Replica, another: Replica
) -> None:
    """A promised generation is done when another replica has painted its prompt."""
    lease = leases_of(world).of_flight(LIGHTHOUSE.hash, "w-acme/shop/a purge")
    await lease.hold()
    generation_id = await promised(replica)
    gate = world.provider.before("paint")
    world.index.expire_lease(LIGHTHOUSE.hash)
    painting = asking(another)
    await gate.reached()
    gate.open()
    answer = await painting
    await replica.parts.drain()

    done = await replica.parts.generations.find(SHOP, generation_id)
    assert done is not None
    assert (done.state, done.image_id) == ("done", answer.entry.image_id)
    assert world.provider.count == 1


async def test_a_promised_generation_that_only_restored_is_done(
    world: World, replica: Replica, another: Replica, monkeypatch: pytest.MonkeyPatch
) -> None:
    """C6: a promised generation whose prompt is only restored is done."""
    monkeypatch.setattr("app.prompt_cache.flight.flights.ROLE_KNOWN_WITHIN_SECONDS", 0)
    entry = (await asking(replica)).entry
    world.index.lose_everything()
    slow = world.store.before("exists")
    generation_id = await promised(another)
    await slow.reached()
    while_restoring = await another.parts.generations.find(SHOP, generation_id)
    slow.open()
    await another.parts.drain()

    done = await another.parts.generations.find(SHOP, generation_id)
    assert while_restoring is not None
    assert not while_restoring.has_ended
    assert done is not None
    assert (done.state, done.image_id) == ("done", entry.image_id)
    assert world.generations.kept_for[generation_id] == timedelta(hours=1)


async def test_a_follower_of_a_leader_that_only_restores_is_given_an_id_that_ends(
    world: World, replica: Replica, another: Replica
) -> None:
    """A follower of a restoring leader gets a generation of its own that ends."""
    entry = (await asking(replica)).entry
    world.index.lose_everything()
    world.generations.records.clear()
    slow = world.store.before("exists")
    restoring = asking(replica)
    await slow.reached()
    generation_id = await promised(another)
    slow.open()
    await restoring
    await another.parts.drain()

    done = await another.parts.generations.find(SHOP, generation_id)
    assert done is not None
    assert (done.state, done.image_id) == ("done", entry.image_id)


async def test_a_promised_refresh_that_meets_a_purge_is_not_found(
    world: World, replica: Replica
) -> None:
    """C6: a promised refresh that meets a purge fails as not found."""
    await asking(replica)
    async with leases_of(world).writing(SHOP, LIGHTHOUSE.hash):
        with pytest.raises(StillGenerating) as still:
            await replica.entries.refresh(
                SHOP,
                LIGHTHOUSE.hash,
                permit=UNLIMITED_PERMIT,
                wait_seconds=0,
                wants_id=True,
            )
        world.store.objects.clear()
        world.index.entries.clear()
    generation_id = still.value.generation_id
    assert generation_id is not None
    await replica.parts.drain()

    failed = await replica.parts.generations.find(SHOP, generation_id)
    assert failed is not None
    assert failed.state == "failed"
    assert failed.error is not None
    assert failed.error["kind"] == NotFound.__name__
    assert world.generations.kept_for[generation_id] == timedelta(hours=1)


async def test_no_id_is_given_that_leads_nowhere(
    world: World, replica: Replica
) -> None:
    """Without Redis no generation is promised; the request is an outage."""
    async with leases_of(world).writing(SHOP, LIGHTHOUSE.hash):
        world.generations.fail_next("put")
        with pytest.raises(CacheUnavailable):
            await ask(replica, wait_seconds=0, wants_id=True)
    await replica.parts.drain()


async def test_a_generation_runs_until_its_picture_is_stored(
    world: World, replica: Replica, monkeypatch: pytest.MonkeyPatch
) -> None:
    """P1: a generation is running until its picture is stored."""
    monkeypatch.setattr(module, "LOOK_EVERY_SECONDS", 0.001)
    painting, storing = world.provider.before("paint"), world.store.before("put")
    asked = asking(replica)
    await painting.reached()
    await until(lambda: states(world)[-1] == "running")
    painting.open()
    await storing.reached()
    await asyncio.sleep(0.02)
    storing.open()
    await asked

    assert states(world) == ["queued", "running", "done"]
