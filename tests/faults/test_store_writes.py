"""A paid picture can't be stored, or its leader dies while it is stored."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import aiohttp
import pytest

from tests.faults.installation import gated_installation
from tests.faults.store_gate import Fault
from tests.until import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.faults.place import Place
    from tests.faults.store_gate import StoreGate
    from tests.servers import S3Server

PROMPT = "a lighthouse in a storm"


@pytest.fixture
async def gated(
    tmp_path: Path, s3_server: S3Server
) -> AsyncIterator[tuple[Place, StoreGate]]:
    """Run two replicas behind a gate; a request waits for two seconds."""
    async with gated_installation(
        tmp_path, s3_server, WAIT_TIMEOUT_SECONDS="2"
    ) as started:
        yield started


@pytest.mark.parametrize("category", ["generated", "prompts"])
async def test_rows_17_and_27_a_full_store_gets_the_picture_when_it_has_room(
    gated: tuple[Place, StoreGate], category: str
) -> None:
    """A paid picture is kept and offered again until a full store has room."""
    place, gate = gated
    gate.on("PUT", f"/{category}/", Fault.FULL)

    waiting = asyncio.create_task(place.clients.herd(PROMPT, *place.replicas, count=10))
    await gate.until_met(3)
    assert not await place.entries()
    assert not await place.objects("prompts")
    gate.heal()
    got = await waiting

    assert sorted(one.cache for one in got) == ["HIT"] * 9 + ["MISS"]
    await place.check(PROMPT, calls=1)
    assert len(await place.objects()) == 1


async def test_row_27_a_store_that_takes_and_freezes_is_not_waited_for_for_ever(
    gated: tuple[Place, StoreGate],
) -> None:
    """If the store freezes in a PUT, requests end in time and the PUT is repeated."""
    place, gate = gated
    leader, follower = place.replicas
    gate.on("PUT", "/generated/", Fault.HOLD, times=1)

    got = await place.clients.herd(PROMPT, leader, follower, count=10)
    again = await place.get(PROMPT, follower)

    assert {(one.status, one.code) for one in (*got, again)} == {
        (503, "still_generating")
    }
    assert max(one.seconds for one in (*got, again)) < 2 + 1
    # The gate is not healed: the held PUT must run into a time-out.
    await until(lambda: place.has_entries(1), within_seconds=20)
    assert (await place.get(PROMPT, follower)).cache == "HIT"
    await place.check(PROMPT, calls=1)


@pytest.mark.parametrize(
    ("fault", "cache", "calls"),
    [
        # The manifest is not there: the picture is an orphan, and is painted again.
        (Fault.HOLD, "MISS", 2),
        # It is there, and only the leader does not know.
        (Fault.HOLD_REPLY, "HIT", 1),
    ],
    ids=["before", "after"],
)
async def test_row_03_a_leader_dies_over_its_manifest(
    gated: tuple[Place, StoreGate], fault: Fault, cache: str, calls: int
) -> None:
    """A leader that dies leaves a HIT if its manifest is stored, and else nothing."""
    place, gate = gated
    leader, other = place.replicas
    gate.on("PUT", "/prompts/", fault, times=1)
    lost = place.asking(PROMPT, leader)
    await gate.until_met()

    await leader.kill()
    with pytest.raises(aiohttp.ClientError):
        await lost
    got = await place.persistently(PROMPT, other)
    gate.heal()

    assert got.cache == cache
    await place.check(PROMPT, calls=calls)
    assert len(await place.objects("prompts")) == 1


@pytest.mark.long
async def test_a_slow_store_is_no_outage(tmp_path: Path, s3_server: S3Server) -> None:
    """M11: over a store that needs 1.2 s a call, a MISS is stored and booked once."""
    prompts = [f"{number} lighthouses" for number in range(5)]
    async with gated_installation(
        tmp_path, s3_server, BUDGET_PER_DAY="10", WAIT_TIMEOUT_SECONDS="40"
    ) as (place, gate):
        gate.delay_seconds = 1.2
        asked = [
            place.asking(prompt, at)
            for prompt in prompts
            for at in (*place.replicas, *place.replicas)
        ]
        got = await asyncio.gather(*asked)
        again = await place.get(prompts[0], place.replicas[0])
        gate.delay_seconds = 0.0

        assert {one.status for one in got} == {200}, [one.body for one in got]
        assert sorted(one.cache for one in got) == ["HIT"] * 15 + ["MISS"] * 5
        assert again.cache == "HIT"
        for prompt in prompts:
            await place.check(prompt, calls=1)
        assert len(await place.objects()) == len(await place.objects("prompts")) == 5
        bill = await place.spend(place.replicas[1])
        said, sums = [
            (await place.clients.call("GET", place.replicas[1].url + path)).json()
            for path in ("/api/v1/project", "/api/v1/live/stats")
        ]
        assert [call["outcome"] for call in bill["calls"]] == ["ok"] * 5
        booked = (bill["total"], said["spent_today"], said["reserved"], sums["spend"])
        assert booked == (0.2, 0.2, 0, 0.2)
