"""Leaders are killed while a provider's job runs: one submission, whoever leads."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from tests.faults.installation import installation
from tests.until import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.faults.place import Place
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
KILLS = 50


@pytest.fixture
async def place(tmp_path: Path, s3_server: S3Server) -> AsyncIterator[Place]:
    """Run two replicas whose model has jobs."""
    async with installation(
        tmp_path, s3_server, models=MODELS, REPLICATE_API_TOKEN="r8_token"
    ) as started:
        yield started


async def _leader_is_killed(place: Place, prompt: str) -> None:
    """Kill a leader once its job is known, and have another one go on with it."""
    doomed, other = place.replicas
    await place.provider.hold()
    led = place.asking(prompt, doomed)
    await place.provider.until_held()
    await until(lambda: _has_a_job(place))
    await doomed.kill()
    await asyncio.wait([led])
    # Asked and not waited for: it ended with its connection.
    assert led.exception() is not None
    place.replicas.remove(doomed)
    followed = place.asking(prompt, other)
    await place.provider.release()

    got = await followed
    assert (got.status, got.cache) == (200, "MISS")
    await place.check(prompt, calls=1)
    assert not await _has_a_job(place)


async def _has_a_job(place: Place) -> bool:
    return bool(await place.jobs())


async def test_row_03_a_leader_that_is_killed_leaves_its_job_to_the_next(
    place: Place,
) -> None:
    """With a job's id nothing is paid twice: the next leader waits for the same one."""
    await _leader_is_killed(place, "a lighthouse in a storm")


@pytest.mark.long
@pytest.mark.timeout(600)
async def test_row_03_fifty_leaders_are_killed_and_each_job_is_submitted_once(
    place: Place,
) -> None:
    """Fifty times over, with a fresh replica each time."""
    for number in range(KILLS):
        await _leader_is_killed(place, f"a lighthouse, number {number}")
        await place.start()


async def test_a_purge_cancels_the_job_of_a_leader_that_is_gone(place: Place) -> None:
    """The provider is told, and whoever asks next has another one begun."""
    doomed, other = place.replicas
    prompt = "a lighthouse in a storm"
    await place.provider.hold()
    asked = place.asking(prompt, doomed)
    await place.provider.until_held()
    await until(lambda: _has_a_job(place))
    told = await place.get(prompt, doomed, prefer="respond-async")
    entry = f"/api/v1/live/entries/{told.json()['prompt_hash']}"
    await doomed.kill()
    await asyncio.wait([asked])
    assert asked.exception() is not None

    async def is_purged() -> bool:
        purged = await place.clients.call("DELETE", f"{other.url}{entry}")
        return purged.status == 200

    await until(is_purged)
    await place.provider.until_cancelled()
    assert not await _has_a_job(place)
    await place.provider.release()
    assert (await place.get(prompt, other)).cache == "MISS"
    await place.check(prompt, calls=2)
