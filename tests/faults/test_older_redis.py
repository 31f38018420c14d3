"""Redis is restored from a snapshot, or a failover loses a purge (fault row 52)."""

from __future__ import annotations

import asyncio
import itertools
from functools import partial
from itertools import product
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
import redis

from app.storage.redis import keys
from app.urls import PROJECT as PROJECT_ROUTE
from tests.faults.clients import LIVE
from tests.faults.installation import LEASE_SECONDS, PRICE, installation
from tests.faults.test_jobs import MODELS as JOBS
from tests.faults.test_jobs import accept_job
from tests.redis_topologies import watched_redis
from tests.until import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.faults.clients import Got
    from tests.faults.place import Place
    from tests.replica import Replica
    from tests.servers import S3Server

ENTRIES, STATISTICS = "/api/v1/live/entries", "/api/v1/live/stats"
SOON_SECONDS = 30.0

FOX, OWL, SEAL = "a red fox", "an owl", "a seal"
# Each picture is 0.04.
PAID_FOR_FIVE = "0.20"
HERD = 64


@pytest.fixture
async def place(tmp_path: Path, s3_server: S3Server) -> AsyncIterator[Place]:
    """Run two replicas that may pay for five pictures."""
    async with installation(
        tmp_path, s3_server, BUDGET_PER_DAY=PAID_FOR_FIVE
    ) as started:
        yield started


async def _purge(place: Place, at: Replica, prompt: str) -> None:
    """Purge a prompt."""
    path = f"{ENTRIES}/{await place.hash_of(prompt, at)}"
    got = await place.clients.call("DELETE", f"{at.url}{path}")
    assert got.status == 200, got.body


async def _refresh(place: Place, at: Replica, prompt: str) -> str:
    """Refresh a prompt; return the id of the new picture."""
    path = f"{ENTRIES}/{await place.hash_of(prompt, at)}/refresh"
    got = await place.clients.call("POST", f"{at.url}{path}")
    assert got.status == 200, got.body
    return str(got.json()["image_id"])


async def _seen(place: Place, at: Replica, path: str) -> Any:
    """Return the answer's document once Redis answers again."""
    got: list[Got] = []

    async def is_answered() -> bool:
        got.append(await place.clients.call("GET", f"{at.url}{path}"))
        return got[-1].status == 200

    await until(is_answered, within_seconds=SOON_SECONDS)
    return got[-1].json()


async def _listed(place: Place, at: Replica) -> list[str]:
    """Return the ids of the pictures that a replica lists, in order."""
    seen = await _seen(place, at, ENTRIES)
    return sorted(entry["image_id"] for entry in seen["entries"])


async def _counted(place: Place, at: Replica) -> tuple[int, int]:
    """Return the entries and the bytes that the statistics of a replica have."""
    sums = await _seen(place, at, STATISTICS)
    return sums["entries"], sums["bytes_stored"]


def _save(place: Place) -> None:
    """Take a snapshot of Redis."""
    with redis.Redis.from_url(place.redis.url) as client:
        client.save()


class Current(NamedTuple):
    """The state after the changes that a snapshot lacks."""

    owl: str
    listed: list[str]
    counted: tuple[int, int]


async def _save_and_change(place: Place, *at: Replica) -> Current:
    """Paint three prompts and take a snapshot; then purge the fox, refresh the owl.

    All of *at* have served each prompt before; the first one makes the changes.
    """
    first = at[0]
    for prompt, asked in product((FOX, OWL, SEAL), at):
        await place.get(prompt, asked)
    await _counted(place, first)
    _save(place)
    await _purge(place, first, FOX)
    owl = await _refresh(place, first, OWL)
    return Current(owl, await _listed(place, first), await _counted(place, first))


async def _owes_nothing(place: Place, at: Replica) -> bool:
    """Return whether no call is open, and nothing reserved."""
    project = await place.clients.call("GET", f"{at.url}{PROJECT_ROUTE}")
    if project.status != 200 or project.json()["reserved"]:
        return False
    calls = (await place.spend(at))["calls"]
    return all(call["outcome"] != "open" for call in calls)


def _restore(place: Place) -> None:
    """Restart Redis from its snapshot."""
    place.redis.kill()
    place.redis.start()


async def test_row_52_a_redis_from_a_snapshot_serves_nothing_that_was_purged(
    place: Place,
) -> None:
    """A restored Redis serves no purged picture, and counts budgets anew."""
    one, other = place.replicas
    for at in (one, other):
        await place.get(FOX, at)
    _save(place)
    # Four more are paid, and one is purged, after the snapshot.
    later = (OWL, SEAL, "a hare", "a heron")
    for prompt in later:
        assert (await place.get(prompt, one)).cache == "MISS"
    await _purge(place, one, FOX)
    _restore(place)

    # The other replica has its bytes in memory; there is no budget left.
    refused = await place.persistently(FOX, other)
    assert (refused.status, refused.code) == (429, "budget_exhausted")
    for prompt in later:
        assert (await place.persistently(prompt, other)).cache == "HIT"


async def test_a_redis_that_is_restored_again_and_again_keeps_to_the_budget(
    place: Place,
) -> None:
    """Three restorations within seconds serve nothing older, and forget no payment.

    Both replicas get requests for a purged, a refreshed and new prompts meanwhile.
    """
    one, other = place.replicas
    old = {}
    for prompt, at in product((FOX, OWL), (one, other)):
        old[prompt] = (await place.get(prompt, at)).headers["X-Image-Id"]
    _save(place)
    await _purge(place, one, FOX)
    current = await _refresh(place, other, OWL)
    # The budget has two left: for the purged prompt and a new one, or for two of those.
    prompts = [FOX, OWL, "a hare", "a heron", "a hind"]
    done = asyncio.Event()
    answers: dict[str, set[str]] = {prompt: set() for prompt in prompts}

    def note(prompt: str, got: Got, *codes: str) -> None:
        if got.status == 200:
            answers[prompt].add(got.headers["X-Image-Id"])
        else:
            assert got.code in codes

    async def ask(number: int, at: Replica) -> None:
        for turn in itertools.count(number):
            prompt = prompts[turn % len(prompts)]
            got = await place.get(prompt, at)
            note(prompt, got, "budget_exhausted", "cache_unavailable")
            if done.is_set():
                return

    async with asyncio.TaskGroup() as asking:
        for number, at in product(range(len(prompts)), place.replicas):
            asking.create_task(ask(number, at))
        for _ in range(3):
            _restore(place)
            await place.until_counting(OWL, other)
        done.set()
    # Redis may have been away whenever a new prompt was requested. A call that was
    # begun then and never sent is given back some seconds later.
    await until(partial(_owes_nothing, place, one), within_seconds=45)
    for prompt, at in product(prompts, place.replicas):
        note(prompt, await place.persistently(prompt, at), "budget_exhausted")

    assert answers[OWL] == {current}
    assert old[FOX] not in answers[FOX]
    assert max(map(len, answers.values())) == 1
    calls = await place.provider.all_calls()
    assert calls.keys() == {*old, *(one for one, seen in answers.items() if seen)}
    # A prompt that is painted while Redis is restored may be paid for once more.
    assert sum(calls.values()) == 5
    assert (await place.spend(one))["total"] == pytest.approx(5 * PRICE)


async def test_a_herd_for_a_purged_prompt_of_a_snapshot_pays_once(
    place: Place,
) -> None:
    """A restored Redis gives 64 who want a purged prompt at once one new picture.

    Its hits begin at one, and lists and statistics have it once.
    """
    for at in place.replicas:
        old = (await place.get(FOX, at)).headers["X-Image-Id"]
        await place.get(OWL, at)
    await _counted(place, place.replicas[0])
    _save(place)
    await _purge(place, place.replicas[0], FOX)
    before = await _counted(place, place.replicas[0])
    _restore(place)
    for at in place.replicas:
        await place.until_counting(OWL, at)
    assert await place.has_entries(2)

    await place.provider.hold()
    sent = place.clients.sent.count(LIVE)
    herd = asyncio.create_task(place.clients.herd(FOX, *place.replicas, count=HERD))
    await until(lambda: place.clients.sent.count(LIVE) == sent + HERD)
    await place.provider.until_held()
    await place.provider.release()
    got = await herd

    assert [one.status for one in got] == [200] * HERD
    assert sorted(one.hits or 0 for one in got) == list(range(HERD))
    (image_id,) = {one.headers["X-Image-Id"] for one in got}
    assert image_id != old
    await place.check(FOX, calls=2, answers=2)
    spend = await place.spend(place.replicas[1])
    assert spend["total"] == pytest.approx(3 * PRICE)
    for at in place.replicas:
        assert image_id in await _listed(place, at)
        assert (await _counted(place, at))[0] == before[0] + 1 == 2


async def test_a_redis_from_a_snapshot_lists_and_counts_no_ghosts(
    place: Place,
) -> None:
    """After a snapshot, lists and statistics have what the manifests name."""
    one, other = place.replicas
    current = await _save_and_change(place, one)
    _restore(place)

    assert await _counted(place, other) == current.counted
    for at in (one, other):
        assert await _listed(place, at) == current.listed
    assert (await _counted(place, other))[0] == len(current.listed) == 2


@pytest.mark.parametrize("beginning", ["another run", "unknown"])
async def test_replicas_that_start_with_an_older_redis_serve_nothing_older(
    place: Place, beginning: str
) -> None:
    """New replicas serve, list and count nothing that was purged or replaced.

    Redis is restored while they start; an earlier release had not written down in
    which run its data began.
    """
    current = await _save_and_change(place, *place.replicas)
    for at in place.replicas:
        await at.stop()
    _restore(place)
    if beginning == "unknown":
        with redis.Redis.from_url(place.redis.url) as client:
            assert client.delete(keys.BEGAN) == 1

    one, other = await place.start(2)

    assert await _counted(place, one) == current.counted
    for at in (one, other):
        assert await _listed(place, at) == current.listed
        assert (await place.get(OWL, at)).headers["X-Image-Id"] == current.owl
        assert (await place.get(SEAL, at)).cache == "HIT"
        assert len(at.events("redis may have older data")) == 1
    assert (await place.get(FOX, other)).cache == "MISS"
    assert (await place.get("a hare", one)).code == "budget_exhausted"
    assert [await place.provider.calls(prompt) for prompt in (FOX, OWL, SEAL)] == [
        *(2, 2, 1)
    ]


async def test_replicas_that_start_beside_an_unbroken_redis_ask_no_manifest(
    place: Place,
) -> None:
    """New replicas serve what Redis has, without a look at its manifest."""
    await place.get(FOX, place.replicas[0])
    for at in place.replicas:
        await at.stop()
    for manifest in await place.objects("prompts"):
        await place.lose(manifest)

    for number, at in enumerate(await place.start(2), start=1):
        got = await place.get(FOX, at)
        assert (got.cache, got.hits) == ("HIT", number)


async def test_an_older_job_paints_nothing_again(
    s3_server: S3Server, tmp_path: Path
) -> None:
    """A job that is there again brings no purged picture back, and costs nothing.

    1. A snapshot has a job. 2. The job ends, and its picture is purged. 3. Redis comes
    back with the job, whose replica is silent.
    """
    async with installation(
        tmp_path, s3_server, models=JOBS, REPLICATE_API_TOKEN="r8_token"
    ) as place:
        one, other = place.replicas
        await accept_job(place, FOX, one)
        _save(place)
        await place.provider.release()
        assert (await place.get(FOX, other)).status == 200
        await _purge(place, one, FOX)
        for at in place.replicas:
            await at.stop()
        _restore(place)
        one, other = await place.start(2)
        # Two leases, and a poll of the provider's.
        await asyncio.sleep(2 * LEASE_SECONDS + 1.0)

        assert await place.objects("prompts") == []
        spend = await place.spend(one)
        assert [call["outcome"] for call in spend["calls"]] == ["ok"]
        assert (await place.get(FOX, other)).cache == "MISS"
        await place.check(FOX, calls=2, answers=2)


@pytest.mark.parametrize("how", ["purged", "refreshed"])
async def test_a_failover_that_lost_it_serves_nothing_older(
    s3_server: S3Server, tmp_path: Path, how: str
) -> None:
    """A promoted Redis that missed a purge does not serve the purged picture."""
    with watched_redis(tmp_path / "redis") as watched:
        async with installation(
            tmp_path, s3_server, redis=watched.primary, redis_url=watched.url
        ) as place:
            one, other = place.replicas
            for at in (one, other):
                await place.get(FOX, at)
            with redis.Redis.from_url(watched.replica.url) as second:
                # It has heard of the entry, and then hears nothing more.
                second.replicaof("127.0.0.1", 1)
            image_id = ""
            if how == "purged":
                await _purge(place, one, FOX)
            else:
                image_id = await _refresh(place, one, FOX)
            watched.primary.kill()

            got = await _counted_again(place, other)

            if how == "purged":
                assert got.cache == "MISS"
            else:
                assert got.headers["X-Image-Id"] == image_id


async def _counted_again(place: Place, at: Replica) -> Got:
    """Return the first answer that Redis had a part in: a MISS or a counted HIT."""
    async with asyncio.timeout(SOON_SECONDS):
        while True:
            got = await place.persistently(FOX, at)
            if got.cache == "MISS" or got.hits is not None:
                return got
            await asyncio.sleep(0.2)
