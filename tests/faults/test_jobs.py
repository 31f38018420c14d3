"""Leaders are killed while a provider's job runs; the job is submitted once."""

from __future__ import annotations

import asyncio
import itertools
import time
from typing import TYPE_CHECKING

import pytest

from tests.faults.installation import LEASE_SECONDS, PRICE, installation
from tests.until import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.faults.clients import Got
    from tests.faults.place import Place
    from tests.replica import Replica
    from tests.servers import S3Server

MODELS = """\
[models.default]
provider = "replicate"
model = "black-forest-labs/flux-schnell"
base_url = "{origin}/v1"
api_key_env = "REPLICATE_API_TOKEN"
price = 0.04
concurrency = 1000
queue = 1000
deadline_seconds = {deadline_seconds}
"""
LEADERS, TURNS, KILLED_AT_ONCE = 50, 5, 5


@pytest.fixture
async def place(tmp_path: Path, s3_server: S3Server) -> AsyncIterator[Place]:
    """Run two replicas whose model has jobs."""
    async with installation(
        tmp_path, s3_server, models=MODELS, REPLICATE_API_TOKEN="r8_token"
    ) as started:
        yield started


async def _leaders_are_killed(place: Place, prompts: list[str]) -> None:
    """Kill all replicas but the last once their jobs are known; the last goes on."""
    *doomed, other = place.replicas
    await place.provider.hold()
    led = [
        place.asking(prompt, one)
        for prompt, one in zip(prompts, itertools.cycle(doomed), strict=False)
    ]
    await place.provider.until_held(len(prompts))
    await until(lambda: _has_jobs(place, len(prompts)))
    await asyncio.gather(*(one.kill() for one in doomed))
    await asyncio.wait(led)
    # Asked and not waited for: they ended with their connections.
    assert all(one.exception() is not None for one in led)
    place.replicas[:] = [other]
    followed = [place.asking(prompt, other) for prompt in prompts]
    await place.provider.release()

    for prompt, one in zip(prompts, followed, strict=True):
        got = await one
        assert (got.status, got.cache) == (200, "MISS")
        await place.check(prompt, calls=1)
    assert not await place.jobs()


async def _has_jobs(place: Place, count: int) -> bool:
    return len(await place.jobs()) == count


async def accept_job(place: Place, prompt: str, at: Replica) -> Got:
    """Request a prompt without waiting; return the answer once its job is recorded."""
    await place.provider.hold()
    accepted = await place.get(prompt, at, prefer="respond-async")
    await place.provider.until_held()
    await until(lambda: _has_jobs(place, 1))
    return accepted


async def _is_stored(place: Place) -> bool:
    return bool(await place.objects("prompts"))


async def test_row_03_a_leader_that_is_killed_leaves_its_job_to_the_next(
    place: Place,
) -> None:
    """The next leader waits for the job of a killed one and submits none."""
    await _leaders_are_killed(place, ["a lighthouse in a storm"])


@pytest.mark.long
@pytest.mark.timeout(600)
async def test_row_03_fifty_leaders_are_killed_and_each_job_is_submitted_once(
    place: Place,
) -> None:
    """The jobs of fifty leaders on 25 killed replicas are submitted once each."""
    for turn in range(TURNS):
        await place.start(KILLED_AT_ONCE + 1 - len(place.replicas))
        leaders = range(LEADERS // TURNS)
        await _leaders_are_killed(place, [f"lamp {turn}, {at}" for at in leaders])


async def test_row_03_a_job_is_finished_within_two_leases_without_requests(
    place: Place,
) -> None:
    """M7: another replica finishes a killed leader's job without any request."""
    doomed, other = place.replicas
    prompt = "a lighthouse in a storm"
    accepted = await accept_job(place, prompt, doomed)
    await doomed.kill()
    killed_at = time.monotonic()
    place.replicas.remove(doomed)
    await place.provider.release()

    await until(lambda: _is_stored(place))
    seconds = time.monotonic() - killed_at
    generation = f"{other.url}/api/v1/generations/{accepted.json()['generation_id']}"

    async def is_done() -> bool:
        record = await place.clients.call("GET", generation)
        return bool(record.json()["state"] == "done")

    await until(is_done)
    # And a poll of the provider's, which has its own pauses.
    assert seconds < 2 * LEASE_SECONDS + 1.0
    spend = await place.spend(other)
    assert [call["outcome"] for call in spend["calls"]] == ["ok"]
    assert spend["total"] == PRICE
    assert (await place.get(prompt, other)).cache == "HIT"
    await place.check(prompt, calls=1)


async def test_a_job_is_finished_by_the_replica_that_comes_back(place: Place) -> None:
    """A single replica that is killed and restarted finishes its job."""
    doomed, other = place.replicas
    await other.kill()
    prompt = "a lighthouse in a storm"
    await accept_job(place, prompt, doomed)
    await doomed.kill()
    place.replicas.clear()
    await place.provider.release()
    await place.start()

    await until(lambda: _is_stored(place))
    await until(lambda: _has_jobs(place, 0))
    assert await place.provider.calls(prompt) == 1


@pytest.mark.long
async def test_row_30_a_result_that_is_unavailable_is_only_fetched_again(
    tmp_path: Path, s3_server: S3Server
) -> None:
    """M4: a result that is 502 is fetched again; it is submitted and paid for once."""
    prompt = "a lighthouse in a storm"
    async with installation(
        tmp_path,
        s3_server,
        models=MODELS,
        deadline_seconds=2.0,
        REPLICATE_API_TOKEN="r8_token",
    ) as place:
        first, second = place.replicas
        # Until the deadline, and a little into the next request's time.
        await place.provider.behave("ok", stumbles=("overloaded",) * 8)

        refused = await place.get(prompt, first)

        async def is_fetched() -> bool:
            return (await place.get(prompt, second)).status == 200

        await until(is_fetched, within_seconds=15)
        assert (refused.status, refused.code) == (502, "provider_failed")
        assert refused.headers["Retry-After"] == "3"
        spend = await place.spend(second)
        assert [call["outcome"] for call in spend["calls"]] == ["ok"]
        await place.check(prompt, calls=1)
