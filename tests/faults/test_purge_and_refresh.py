"""Purges and refreshes while others read."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from tests.faults.installation import gated_installation
from tests.faults.store_gate import Fault
from tests.until import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.faults.clients import Got
    from tests.faults.place import Place
    from tests.faults.store_gate import StoreGate
    from tests.replica import Replica
    from tests.servers import S3Server

PROMPT = "here today, gone tomorrow"
ENTRIES = "/api/v1/live/entries"


@pytest.fixture
async def gated(
    tmp_path: Path, s3_server: S3Server
) -> AsyncIterator[tuple[Place, StoreGate]]:
    """Run two replicas behind a gate, with leases that outlive a purge."""
    async with gated_installation(tmp_path, s3_server, LEASE_SECONDS="5") as started:
        yield started


def _purge(place: Place, at: Replica, prompt_hash: str) -> asyncio.Task[Got]:
    """Purge in the background."""
    return asyncio.create_task(
        place.clients.call("DELETE", f"{at.url}{ENTRIES}/{prompt_hash}")
    )


def _refresh(place: Place, at: Replica, prompt_hash: str) -> asyncio.Task[Got]:
    """Refresh in the background."""
    return asyncio.create_task(
        place.clients.call("POST", f"{at.url}{ENTRIES}/{prompt_hash}/refresh")
    )


async def _nothing_is_left(place: Place) -> None:
    """Assert that neither Redis nor the ledger knows the prompt."""
    assert not await place.entries()
    assert not await place.objects()
    assert not await place.objects("prompts")


async def _ended(place: Place, generation: str) -> dict[str, Any]:
    """Return the end of a generation, which is written after the entry."""
    asked: dict[str, Any] = {}

    async def has_ended() -> bool:
        asked.update((await place.clients.call("GET", generation)).json())
        return asked["state"] in {"done", "failed"}

    await until(has_ended)
    return asked


async def test_a_purge_waits_for_a_reader_that_restores(
    gated: tuple[Place, StoreGate],
) -> None:
    """A reader that restores an entry writes it before the purge or not at all."""
    place, gate = gated
    reader, owner = place.replicas
    prompt_hash = await place.hash_of(PROMPT, reader)
    await place.seen_redis.flushall()
    gate.on("GET", "/prompts/", Fault.HOLD_REPLY, times=1)
    reading = place.asking(PROMPT, reader)
    await gate.until_met()

    purging = _purge(place, owner, prompt_hash)
    gate.heal()
    read, purged = await asyncio.gather(reading, purging)

    assert (read.status, read.cache) == (200, "HIT")
    assert purged.status == 200
    await _nothing_is_left(place)
    for at in place.replicas:
        looked = await place.clients.look(PROMPT, at)
        assert looked.status == 404
    await place.check(PROMPT, calls=1)


async def test_readers_that_race_a_purge_leave_nothing_of_the_old_picture(
    gated: tuple[Place, StoreGate],
) -> None:
    """After a purge has answered, every replica serves one new picture."""
    place, gate = gated
    reader, owner = place.replicas
    prompt_hash = await place.hash_of(PROMPT, reader)
    (old,) = place.clients.answers[PROMPT]
    gate.on("DELETE", "/prompts/", Fault.HOLD, times=1)
    purging = _purge(place, owner, prompt_hash)
    await gate.until_met()
    # The entry goes last: until then the old picture is the answer.
    during = await place.clients.herd(PROMPT, reader, owner, count=10)
    assert {got.headers["ETag"] for got in during} == {f'"{old}"'}
    await place.seen_redis.delete(*await place.entries())
    racing = [place.asking(PROMPT, at) for at in (reader, owner) for _ in range(10)]
    # A request that does not wait gets the generation to ask for at once.
    accepted = await place.get(PROMPT, reader, prefer="respond-async")
    assert (accepted.status, accepted.json()["state"]) == (202, "queued")

    gate.heal()
    assert (await purging).status == 200
    raced = await asyncio.gather(*racing)
    generation = f"{owner.url}{accepted.headers['Location']}"
    asked = await _ended(place, generation)
    after = await place.clients.herd(PROMPT, reader, owner, count=10)

    new = {got.headers["ETag"] for got in (*raced, *after)}
    assert len(new) == 1
    assert f'"{old}"' not in new
    assert asked["state"] == "done"
    assert asked["image_id"] == after[0].headers["X-Image-Id"]
    await place.check(PROMPT, calls=2, answers=2)
    assert len(await place.objects()) == 1


async def test_refreshes_that_overlap_on_two_replicas_are_one_payment(
    place: Place,
) -> None:
    """Two overlapping refreshes pay once and return the same new picture."""
    one, other = place.replicas
    prompt_hash = await place.hash_of(PROMPT, one)
    old = await place.get(PROMPT, one)
    await place.provider.hold()

    refreshing = [_refresh(place, at, prompt_hash) for at in (one, other, one, other)]
    await place.provider.until_held()
    during = await place.get(PROMPT, other)
    await place.provider.release()
    refreshed = await asyncio.gather(*refreshing)
    after = await place.clients.herd(PROMPT, one, other, count=10)

    assert during.headers["ETag"] == old.headers["ETag"]
    assert {got.status for got in refreshed} == {200}
    assert {got.json()["image_id"] for got in refreshed} == {
        got.headers["X-Image-Id"] for got in after
    }
    assert after[0].headers["ETag"] != old.headers["ETag"]
    await place.check(PROMPT, calls=2, answers=2)
    assert len(await place.objects()) == 1


async def test_a_refresh_whose_replica_is_killed_leaves_the_old_picture(
    place: Place,
) -> None:
    """A refresh whose replica is killed keeps the old picture, and may be repeated."""
    doomed, other = place.replicas
    prompt_hash = await place.hash_of(PROMPT, other)
    await place.provider.hold()
    lost = _refresh(place, doomed, prompt_hash)
    await place.provider.until_held()

    await doomed.kill()
    await place.provider.until_aborted()
    await asyncio.gather(lost, return_exceptions=True)
    assert (await place.get(PROMPT, other)).cache == "HIT"
    assert place.clients.answers_to(PROMPT) == 1
    again = _refresh(place, other, prompt_hash)
    await place.provider.until_held()
    await place.provider.release()

    assert (await again).status == 200
    await place.get(PROMPT, other)
    await place.check(PROMPT, calls=3, answers=2)
    assert len(await place.objects()) == 1


async def test_a_purge_while_a_painting_runs_says_so_in_time(
    place: Place,
) -> None:
    """A purge during a painting is 503 after two seconds, and succeeds after it."""
    one, other = place.replicas
    painting = await place.held(PROMPT, one)
    accepted = await place.get(PROMPT, one, prefer="respond-async")
    prompt_hash = accepted.json()["prompt_hash"]

    refused = await _purge(place, other, prompt_hash)
    await place.provider.release()
    await painting
    purged = await _purge(place, other, prompt_hash)

    assert (refused.status, refused.code) == (503, "still_generating")
    assert 1.5 < refused.seconds < 3
    assert purged.status == 200
    await _nothing_is_left(place)
