"""Jobs that outlive their leader: submitted once, resumed by the next leader."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from app.errors import CallEnd, NotFound, ProviderFailed, ShuttingDown
from app.generation.provider import Origin, ProviderPicture
from app.prompt_cache.cache import LookupOutcome
from app.prompt_cache.generations import generations
from app.storage.storage_key import Project
from tests.fakes import (
    LIGHTHOUSE,
    SHOP,
    SOON_SECONDS,
    ScriptedProvider,
    a_picture,
    a_prompt_cache,
    a_world,
)
from tests.prompt_cache.cache_requests import asking
from tests.until import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from app.generation.provider import Job, PaintRequest
    from app.prompt_cache.cache import Answer
    from tests.fakes import Gate, Replica, World


class Workshop(ScriptedProvider):
    """A provider with jobs; each is one picture, polled at the gate `poll`."""

    def __init__(self) -> None:
        super().__init__()
        self.submitted: list[str] = []
        self.asked_after: list[str] = []
        self.cancelled: list[str] = []
        self.undelivered = 0
        self.never_ran = False

    async def paint(self, request: PaintRequest, job: Job) -> ProviderPicture:
        """Submit a job unless there is one, and wait for it."""
        job_id = job.resumed
        if job_id is None:
            job_id = f"job-{len(self.submitted) + 1}"
            self.submitted.append(job_id)
            await job.begun(job_id)
        self.asked_after.append(job_id)
        await job.progressed(0.25)
        async with self._call("poll"):
            if self.script:
                comes = self.script.popleft()
                assert isinstance(comes, Exception)
                raise comes
        job.succeeded()
        if self.undelivered:
            self.undelivered -= 1
            raise ProviderFailed("It can't be fetched.", end=CallEnd.BILLED)
        picture = a_picture(int(job_id.rpartition("-")[2]))
        return ProviderPicture(picture, Origin(self.vendor, "workshop"))

    async def cancel(self, job_id: str) -> bool:
        """Record the cancelled job."""
        self.cancelled.append(job_id)
        return self.never_ran


@pytest.fixture
def workshop() -> Workshop:
    """Give the provider of this module."""
    return Workshop()


@pytest.fixture
def world(workshop: Workshop) -> World:
    """Give a world whose provider has jobs."""
    made = a_world()
    made.provider = workshop
    return made


@pytest.fixture
async def replicas(world: World) -> AsyncIterator[tuple[Replica, Replica]]:
    """Give two replicas."""
    made = a_prompt_cache(world), a_prompt_cache(world)
    yield made
    for replica in made:
        await replica.give_up()


async def submitted(
    replica: Replica, workshop: Workshop
) -> tuple[Gate, asyncio.Task[Answer]]:
    """Request the lighthouse; return the gate of the job's first poll, and the task.

    The poll waits at the gate.
    """
    gate = workshop.before("poll")
    asked = asking(replica)
    await gate.reached()
    return gate, asked


async def left_behind(replica: Replica, workshop: Workshop) -> None:
    """End a leader while its job runs."""
    _, asked = await submitted(replica, workshop)
    await replica.give_up()
    with pytest.raises(ShuttingDown):
        await asked


async def test_a_job_is_known_before_it_is_asked_after(
    world: World, workshop: Workshop, replicas: tuple[Replica, Replica]
) -> None:
    """A job is recorded before its first poll and removed by the commit."""
    gate, asked = await submitted(replicas[0], workshop)
    kept = await world.index.job(LIGHTHOUSE.hash)
    gate.open()
    await asked

    assert kept is not None
    assert b"job-1" in kept
    assert await world.index.job(LIGHTHOUSE.hash) is None


async def test_the_next_leader_goes_on_with_the_job(
    world: World, workshop: Workshop, replicas: tuple[Replica, Replica]
) -> None:
    """The next leader waits for the left job and pays nothing."""
    first, second = replicas
    await left_behind(first, workshop)

    answer = await asking(second)

    assert answer.outcome == LookupOutcome.MISS
    assert answer.data == a_picture(1)
    assert workshop.submitted == ["job-1"]
    assert workshop.asked_after == ["job-1", "job-1"]
    assert await world.index.job(LIGHTHOUSE.hash) is None


async def test_a_leader_that_stalled_past_its_lease_shares_its_job(
    world: World, workshop: Workshop, replicas: tuple[Replica, Replica]
) -> None:
    """A stalled leader and its successor wait for one job and serve one picture."""
    stalled, late = await submitted(replicas[0], workshop)
    world.index.expire_lease(LIGHTHOUSE.hash)
    winner = await asking(replicas[1])
    stalled.open()

    assert (await late).entry.image_id == winner.entry.image_id
    assert workshop.submitted == ["job-1"]
    assert len(world.images) == 1


async def test_a_purge_cancels_the_job_that_was_left(
    world: World, workshop: Workshop, replicas: tuple[Replica, Replica]
) -> None:
    """A purge cancels the left job, and the next request submits a new one."""
    first, second = replicas
    await left_behind(first, workshop)

    with pytest.raises(NotFound):
        await second.purge(Project("acme", "zoo"), LIGHTHOUSE.hash)
    await second.purge(SHOP, LIGHTHOUSE.hash)
    await until(lambda: workshop.cancelled == ["job-1"])
    answer = await asking(second)

    assert answer.data == a_picture(2)
    assert workshop.submitted == ["job-1", "job-2"]


@pytest.mark.parametrize(
    ("is_open", "submitted"), [(True, ["job-1"]), (False, ["job-1", "job-2"])]
)
async def test_a_job_of_an_older_redis_goes_on_where_its_call_is_open(
    world: World,
    workshop: Workshop,
    replicas: tuple[Replica, Replica],
    *,
    is_open: bool,
    submitted: list[str],
) -> None:
    """In doubt the next leader fetches no picture of a job that has ended."""
    await left_behind(replicas[0], workshop)
    world.index.doubts, world.has_open_calls = 1, is_open

    answer = await asking(replicas[1])

    assert answer.data == a_picture(len(submitted))
    assert workshop.submitted == submitted
    assert workshop.cancelled == []
    assert world.index.jobs == {}


async def test_a_purge_cancels_no_job_that_has_ended(
    world: World, workshop: Workshop, replicas: tuple[Replica, Replica]
) -> None:
    """In doubt a purge leaves a job alone that has ended, and its account."""
    await left_behind(replicas[0], workshop)
    older = dict(world.index.jobs)
    await asking(replicas[1])
    world.index.jobs, world.index.doubts = older, 1

    await replicas[1].purge(SHOP, LIGHTHOUSE.hash)

    assert workshop.cancelled == []
    assert await spend(replicas[1]) == 0.04


async def test_a_job_that_failed_is_forgotten_with_its_failure(
    world: World, workshop: Workshop, replicas: tuple[Replica, Replica]
) -> None:
    """A failed job is removed, and later painting submits a new one."""
    workshop.script.append(ProviderFailed("It broke down."))
    with pytest.raises(ProviderFailed):
        await asking(replicas[0])
    assert await world.index.job(LIGHTHOUSE.hash) is None
    world.index.expire_failure(LIGHTHOUSE.hash)

    await asking(replicas[1])

    assert workshop.submitted == ["job-1", "job-2"]


async def test_a_picture_that_cannot_be_fetched_yet_is_fetched_by_the_next(
    world: World, workshop: Workshop, replicas: tuple[Replica, Replica]
) -> None:
    """M4: a job whose picture can't be fetched yet is resumed by the next leader."""
    workshop.undelivered = 1
    with pytest.raises(ProviderFailed) as failed:
        await asking(replicas[0])
    remembered = await world.index.remembered(LIGHTHOUSE.hash)
    assert await world.index.job(LIGHTHOUSE.hash) is not None
    world.index.expire_failure(LIGHTHOUSE.hash)

    answer = await asking(replicas[1])

    assert failed.value.retry_after == timedelta(seconds=3)
    assert remembered is not None
    assert remembered.remaining <= timedelta(seconds=3)
    assert answer.data == a_picture(1)
    assert workshop.submitted == ["job-1"]
    assert workshop.cancelled == []
    assert await world.index.job(LIGHTHOUSE.hash) is None


@pytest.mark.parametrize(
    "note", [b'{"project": "acme/shop", "model": "default", "id": "job-7"}', b"{"]
)
async def test_a_note_of_an_older_release_is_as_if_there_were_none(
    world: World, workshop: Workshop, replicas: tuple[Replica, Replica], note: bytes
) -> None:
    """A job's note of an older release is ignored."""
    world.index.jobs[LIGHTHOUSE.hash] = note

    answer = await asking(replicas[0])

    assert answer.outcome == LookupOutcome.MISS
    assert workshop.submitted == ["job-1"]


async def test_a_job_that_cannot_be_kept_goes_on_with_its_leader(
    world: World, workshop: Workshop, replicas: tuple[Replica, Replica]
) -> None:
    """A job that could not be recorded is finished by its leader."""
    world.index.fail_next("keep_job")

    answer = await asking(replicas[0])

    assert answer.data == a_picture(1)
    assert workshop.submitted == ["job-1"]


async def test_nothing_is_begun_while_jobs_can_not_be_read(
    world: World, workshop: Workshop, replicas: tuple[Replica, Replica]
) -> None:
    """No job is submitted while Redis can't say whether one is left."""
    world.index.fail_next("job")

    with pytest.raises(Exception, match="unavailable"):
        await asking(replicas[0])
    await asking(replicas[0])

    assert workshop.submitted == ["job-1"]


async def test_progress_is_in_the_generations_record(
    world: World,
    workshop: Workshop,
    replicas: tuple[Replica, Replica],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The provider's progress is in the generation's record."""
    monkeypatch.setattr(generations, "LOOK_EVERY_SECONDS", 0.001)
    gate, asked = await submitted(replicas[0], workshop)
    (generation_id,) = world.generations.records
    progress: float | None = None
    async with asyncio.timeout(SOON_SECONDS):
        while progress is None:
            await asyncio.sleep(0.001)
            found = await replicas[1].parts.generations.find(SHOP, generation_id)
            assert found is not None
            progress = found.as_json()["progress"]
    gate.open()
    await asked

    assert progress == 0.25


async def spend(replica: Replica) -> float:
    """Return the shop's spend in the statistics."""
    sums = await replica.statistics.read(str(SHOP))
    return float(sums["spend"])


async def test_an_open_call_is_in_the_statistics(
    world: World, workshop: Workshop, replicas: tuple[Replica, Replica]
) -> None:
    """M15: a call of a killed leader counts once in the statistics."""
    first, second = replicas
    _, asked = await submitted(first, workshop)
    opened = await spend(second)
    await first.give_up()
    with pytest.raises(ShuttingDown):
        await asked
    await asking(second)

    assert opened == 0.04
    assert await spend(second) == 0.04


async def test_a_call_that_was_free_is_taken_out_of_the_statistics(
    world: World, workshop: Workshop, replicas: tuple[Replica, Replica]
) -> None:
    """A call whose job never ran is taken out of the statistics."""
    workshop.never_ran = True
    await left_behind(replicas[0], workshop)
    assert await spend(replicas[0]) == 0.04

    await replicas[1].purge(SHOP, LIGHTHOUSE.hash)

    assert workshop.cancelled == ["job-1"]
    assert await spend(replicas[1]) == 0.0
