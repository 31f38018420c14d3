"""A dead leader's job is finished without a request, and its generation ends."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING

import orjson
import pytest

from app.errors import NotFound, ProviderFailed, ShuttingDown
from app.prompt_cache.entry.entry import PromptEntry
from app.prompt_cache.flight.leases import generation_of, token_of
from tests.fakes import (
    LIGHTHOUSE,
    SHOP,
    SOON_SECONDS,
    a_picture,
    a_prompt_cache,
    leases_of,
)
from tests.prompt_cache.cache_requests import asking, promised, refresh
from tests.prompt_cache.test_jobs import Workshop, submitted, workshop, world
from tests.until import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from app.prompt_cache.generations.record import GenerationRecord
    from tests.fakes import Replica, World

__all__ = ["workshop", "world"]

LEASE = timedelta(seconds=0.2)


@pytest.fixture
async def replicas(world: World) -> AsyncIterator[tuple[Replica, Replica]]:
    """Give two replicas with short leases and without the background look."""
    made = (
        a_prompt_cache(world, lease_for=LEASE),
        a_prompt_cache(world, lease_for=LEASE),
    )
    yield made
    for replica in made:
        await replica.give_up()


async def died(replica: Replica, world: World, workshop: Workshop) -> str:
    """Kill a leader while its job runs; return its generation's id.

    Nothing of it reaches Redis any more, as after a kill.
    """
    _, asked = await submitted(replica, workshop)
    (generation_id,) = world.generations.records
    watched = dict(world.generations.watched)
    record = world.generations.records[generation_id]
    kept = world.index.jobs[LIGHTHOUSE.hash]
    await replica.give_up()
    with pytest.raises(ShuttingDown):
        await asked
    world.index.jobs[LIGHTHOUSE.hash] = kept
    world.generations.records[generation_id] = record
    world.generations.watched = watched
    return generation_id


async def looked_at(replica: Replica, world: World) -> None:
    """Make *replica* look once at all that is left."""
    world.generations.let_all_be_due()
    await replica.parts.left_behind.look()


async def ended(replica: Replica, generation_id: str) -> GenerationRecord:
    """Return a generation's record once it has ended."""
    async with asyncio.timeout(SOON_SECONDS):
        while True:
            record = await replica.parts.generations.find(SHOP, generation_id)
            if record is not None and record.has_ended:
                return record
            await asyncio.sleep(0.001)


async def finished_by(
    replica: Replica, world: World, generation_id: str
) -> GenerationRecord:
    """Make *replica* look at all that is left; return the record of the end."""
    await looked_at(replica, world)
    return await ended(replica, generation_id)


async def test_a_job_is_finished_without_being_asked_for(
    world: World, workshop: Workshop, replicas: tuple[Replica, Replica]
) -> None:
    """M7: a dead leader's job is finished under its generation's id."""
    first, second = replicas
    generation_id = await died(first, world, workshop)
    begun = orjson.loads(world.generations.records[generation_id])["created_at"]

    record = await finished_by(second, world, generation_id)

    entry = PromptEntry.of_key(LIGHTHOUSE, world.index.entries[LIGHTHOUSE.hash])
    assert entry is not None
    assert (record.state, record.image_id) == ("done", entry.image_id)
    assert record.created_at.isoformat() == begun.replace("Z", "+00:00")
    assert workshop.submitted == ["job-1"]
    assert len(world.images) == len(world.manifests) == 1
    await until(lambda: not world.generations.watched)
    assert await world.index.job(LIGHTHOUSE.hash) is None


async def test_a_job_of_an_older_redis_is_not_finished_twice(
    world: World, workshop: Workshop, replicas: tuple[Replica, Replica]
) -> None:
    """In doubt no replica fetches what the ledger knows to have ended.

    1. A job ends, and its picture is purged. 2. Redis comes back with the job.
    """
    first, second = replicas
    generation_id = await died(first, world, workshop)
    world.index.doubts = 1

    record = await finished_by(second, world, generation_id)

    assert record.state == "failed"
    assert world.images == world.manifests == []
    assert workshop.asked_after == ["job-1"]


async def test_a_leader_that_is_alive_keeps_its_job(
    world: World, workshop: Workshop, replicas: tuple[Replica, Replica]
) -> None:
    """A live leader with its lease keeps its job, even if its claim is due."""
    first, second = replicas
    gate, asked = await submitted(first, workshop)

    await looked_at(second, world)
    await second.parts.drain()
    gate.open()

    assert (await asked).data == a_picture(1)
    assert workshop.asked_after == ["job-1"]


async def test_a_stalled_leader_and_the_one_that_took_its_job_up_agree(
    world: World, workshop: Workshop, replicas: tuple[Replica, Replica]
) -> None:
    """A stalled leader and its successor serve the same picture of one job."""
    first, second = replicas
    stalled, late = await submitted(first, workshop)
    (generation_id,) = world.generations.records
    world.index.expire_lease(LIGHTHOUSE.hash)

    record = await finished_by(second, world, generation_id)
    stalled.open()

    assert (await late).entry.image_id == record.image_id
    assert workshop.submitted == ["job-1"]
    assert len(world.images) == 1
    again = await second.parts.generations.find(SHOP, generation_id)
    assert again is not None
    assert again.image_id == record.image_id


async def test_nothing_new_is_begun_for_what_was_left(
    world: World, workshop: Workshop, replicas: tuple[Replica, Replica]
) -> None:
    """A left job that failed ends its generation without another call."""
    first, second = replicas
    generation_id = await died(first, world, workshop)
    workshop.script.append(ProviderFailed("It broke down."))

    record = await finished_by(second, world, generation_id)

    assert record.state == "failed"
    assert record.error is not None
    assert record.error["kind"] == "ProviderFailed"
    assert workshop.submitted == ["job-1"]
    assert workshop.cancelled == ["job-1"]


async def test_a_picture_that_could_not_be_fetched_is_fetched_later_unasked(
    world: World, workshop: Workshop, replicas: tuple[Replica, Replica]
) -> None:
    """A picture that could not be fetched is stored later without a request."""
    workshop.undelivered = 1
    with pytest.raises(ProviderFailed):
        await asking(replicas[0])
    (generation_id,) = world.generations.records

    await looked_at(replicas[1], world)
    await until(lambda: LIGHTHOUSE.hash in world.index.entries)
    await replicas[1].parts.drain()

    failed = await replicas[1].parts.generations.find(SHOP, generation_id)
    assert failed is not None
    assert failed.state == "failed"
    assert workshop.submitted == ["job-1"]
    assert len(world.generations.records) == 2


async def test_a_drained_leader_hands_its_job_over(
    world: World, workshop: Workshop, replicas: tuple[Replica, Replica]
) -> None:
    """A drained leader's job is finished by another replica."""
    first, second = replicas
    _, asked = await submitted(first, workshop)
    (generation_id,) = world.generations.records
    await first.give_up()
    with pytest.raises(ShuttingDown):
        await asked
    handed_over = await second.parts.generations.find(SHOP, generation_id)

    record = await finished_by(second, world, generation_id)

    assert handed_over is not None
    assert not handed_over.has_ended
    assert record.state == "done"
    assert workshop.submitted == ["job-1"]


async def left_refresh(world: World, replica: Replica, workshop: Workshop) -> str:
    """End a replica while its refresh's job runs; return the generation's id."""
    gate = workshop.before("poll")
    refreshing = asyncio.create_task(refresh(replica))
    await gate.reached()
    generation_id = list(world.generations.records)[-1]
    await replica.give_up()
    with pytest.raises(ShuttingDown):
        await refreshing
    return generation_id


async def test_a_refresh_that_was_left_replaces_the_picture(
    world: World, workshop: Workshop, replicas: tuple[Replica, Replica]
) -> None:
    """A left refresh is finished and replaces the picture."""
    first, second = replicas
    old = (await asking(first)).entry
    await left_refresh(world, first, workshop)

    await looked_at(second, world)
    await until(
        lambda: len(world.images) == 1 and str(old.storage_key) not in world.images
    )

    assert workshop.submitted == ["job-1", "job-2"]
    assert (
        await second.entries.get(SHOP, LIGHTHOUSE.hash)
    ).entry.image_id != old.image_id


async def test_a_refresh_that_was_left_and_purged_has_failed(
    world: World, workshop: Workshop, replicas: tuple[Replica, Replica]
) -> None:
    """A left refresh of a purged prompt is cancelled and fails as not found."""
    first, second = replicas
    await asking(first)
    generation_id = await left_refresh(world, first, workshop)
    world.store.objects.clear()
    world.index.entries.clear()

    await looked_at(second, world)
    await until(lambda: workshop.cancelled == ["job-2"])
    await until(lambda: LIGHTHOUSE.hash not in world.index.jobs)
    await second.parts.drain()
    record = await finished_by(second, world, generation_id)

    assert record.error is not None
    assert record.error["kind"] == NotFound.__name__


async def test_a_generation_whose_leader_died_without_a_job_has_failed(
    world: World, replicas: tuple[Replica, Replica]
) -> None:
    """C6: a generation whose leader died without a job fails within two leases."""
    first, second = replicas
    generations = first.parts.generations
    lease = leases_of(world).of_flight(LIGHTHOUSE.hash, "w-acme/shop/a purge")
    await lease.hold()
    generation_id = await promised(first)
    watched, records = dict(world.generations.watched), dict(world.generations.records)
    await first.give_up()
    world.generations.watched, world.generations.records = watched, records
    world.index.expire_lease(LIGHTHOUSE.hash)
    assert await generations.find(SHOP, generation_id) is not None

    record = await finished_by(second, world, generation_id)

    assert record.state == "failed"
    assert record.error is not None
    assert record.error["kind"] == ShuttingDown.__name__
    assert world.provider.count == 0


async def test_a_generation_that_another_leader_finished_is_done(
    world: World, workshop: Workshop, replicas: tuple[Replica, Replica]
) -> None:
    """A dead leader's generation has the picture that the next leader fetched."""
    first, second = replicas
    generation_id = await died(first, world, workshop)
    answer = await asking(second)

    record = await finished_by(second, world, generation_id)

    assert answer.generation_id != generation_id
    assert (record.state, record.image_id) == ("done", answer.entry.image_id)


async def test_a_replica_that_lives_says_so_again_and_again(
    world: World, workshop: Workshop, replicas: tuple[Replica, Replica]
) -> None:
    """A live replica's generations never become due."""
    first, second = replicas
    async with first.parts.generations.kept_alive():
        gate, asked = await submitted(first, workshop)
        for _ in range(10):
            await asyncio.sleep(LEASE.total_seconds() / 5)
            assert await second.parts.generations.claimed(100) == []
    gate.open()
    await asked


async def test_a_token_of_another_attempt_names_the_same_generation() -> None:
    """Every attempt's token names the same generation."""
    assert generation_of(token_of("a-generation", "2")) == "a-generation"
