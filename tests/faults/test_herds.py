"""Many clients at once: herds, clients that leave, readers that stall."""

from __future__ import annotations

import asyncio
import random
import statistics
import time
from typing import TYPE_CHECKING

import pytest

from app.prompt_cache.flight.flights import POLL_SECONDS
from tests.faults.clients import LIVE, RudeClient
from tests.faults.installation import installation
from tests.until import until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.faults.clients import Got
    from tests.faults.place import Place
    from tests.replica import Replica
    from tests.servers import S3Server

HERD = 500
PROMPTS_IN_FLIGHT = 200
LED_AT_ONCE = 40
# Half of what a follower waits at the least before it looks by itself.
HEARD_WITHIN_SECONDS = POLL_SECONDS[0] / 2


async def test_row_02_a_herd_over_four_replicas_is_painted_once(
    tmp_path: Path, s3_server: S3Server
) -> None:
    """Of 500 concurrent requests one is a MISS, and each other one a counted HIT."""
    prompt = "a herd of elk"
    async with installation(
        tmp_path, s3_server, replicas=4, LEASE_SECONDS="20"
    ) as place:
        await place.provider.hold()
        herd = asyncio.create_task(
            place.clients.herd(prompt, *place.replicas, count=HERD)
        )
        await until(lambda: _all_sent(place, HERD))
        await place.provider.until_held()
        await place.provider.release()
        got = await herd

        assert sorted(one.cache for one in got) == ["HIT"] * (HERD - 1) + ["MISS"]
        assert sorted(one.hits or 0 for one in got) == list(range(HERD))
        await place.check(prompt, calls=1)


@pytest.mark.long
async def test_row_02_followers_learn_of_a_commit_at_once(
    tmp_path: Path, s3_server: S3Server, record_property: Callable[[str, object], None]
) -> None:
    """Followers on another replica answer right after the leader has committed.

    A busy machine may need as long as for a HIT of that replica, and as an event.
    """
    prompts = [f"{number} paper boats" for number in range(PROMPTS_IN_FLIGHT)]
    async with installation(
        tmp_path, s3_server, LEASE_SECONDS="20", WAIT_TIMEOUT_SECONDS="40"
    ) as place:
        leader, follower = place.replicas
        await place.provider.hold()
        led = []
        # A few at a time: all at once may be more than the store answers in time.
        for one in prompts:
            led.append(asyncio.create_task(_timed(place, one, leader)))
            if len(led) % LED_AT_ONCE == 0:
                await place.provider.until_held(len(led))
        followed = [
            asyncio.create_task(_timed(place, one, follower)) for one in prompts
        ]
        await asyncio.gather(*(place.until_following(one, follower) for one in prompts))

        lags, hits = [], []
        for prompt, first, second in list(zip(prompts, led, followed, strict=True))[
            :50
        ]:
            await place.provider.release(prompt)
            lags.append((await second)[1] - (await first)[1])
            hits.append((await place.get(prompt, follower)).seconds)
        await place.provider.release()
        painted = await asyncio.gather(*led)
        heard = await asyncio.gather(*followed)

        median = statistics.median(lags)
        record_property("median_notification_seconds", median)
        assert {one.cache for one, _ in painted} == {"MISS"}
        assert {one.cache for one, _ in heard} == {"HIT"}
        assert set((await place.provider.all_calls()).values()) == {1}
        assert median < statistics.median(hits) + HEARD_WITHIN_SECONDS


async def test_row_11_a_storm_of_clients_that_leave_mixes_nothing_up(
    place: Place,
) -> None:
    """Clients that reset at any moment disturb no other client and leak nothing."""
    prompts = [f"sparrow number {number}" for number in range(20)]
    chance = random.Random(11)
    for prompt in prompts:
        await place.get(prompt, place.replicas[0])
    # Each replica once, so that its connections are made.
    for at in place.replicas:
        await asyncio.gather(*(place.get(prompt, at) for prompt in prompts * 5))
    connections = await place.redis_connections()

    async def leave(number: int) -> None:
        at = place.replicas[number % 2]
        client = await RudeClient.ask(chance.choice(prompts), at)
        if chance.random() < 0.5:
            await client.reader.read(chance.randint(1, 200))
        client.reset()

    async def stay(number: int) -> Got:
        return await place.get(chance.choice(prompts), place.replicas[number % 2])

    for _ in range(5):
        leaving = [leave(number) for number in range(100)]
        staying = [stay(number) for number in range(40)]
        _, got = await asyncio.gather(
            asyncio.gather(*leaving), asyncio.gather(*staying)
        )
        assert {(one.status, one.cache) for one in got} == {(200, "HIT")}

    for prompt in prompts:
        await place.check(prompt, calls=1)
    # Connections beyond those of the pools would be a leak.
    assert await place.redis_connections() <= connections + 2 * 64


@pytest.mark.long
@pytest.mark.parametrize(
    "readers", [250, pytest.param(1000, marks=[pytest.mark.timeout(300)])]
)
async def test_row_18_readers_that_stall_are_cut_and_delay_no_others(
    tmp_path: Path, s3_server: S3Server, readers: int
) -> None:
    """Stalled readers are cut at the write deadline and delay no other client."""
    large, small = "a very large mural", "a postage stamp"
    async with installation(tmp_path, s3_server, replicas=1) as place:
        (replica,) = place.replicas
        await place.provider.behave("ok", prompt=large, picture_bytes=4 * 1024**2)
        for prompt in (large, small):
            await place.get(prompt, replica)
        stalled = [
            await RudeClient.ask(large, replica, receives_bytes=4096)
            for _ in range(readers)
        ]
        # Each has been answered, and takes no more.
        heads = await asyncio.gather(*(one.reader.readexactly(12) for one in stalled))
        assert set(heads) == {b"HTTP/1.1 200"}

        others = await place.clients.herd(small, replica, count=50)
        whole = await place.get(large, replica)

        assert {one.status for one in others} == {200}
        assert max(one.seconds for one in others) < 2
        assert whole.status == 200
        cut = 'paintonce_cut_bodies_total{reason="stalled"}'
        await until(lambda: _reached(place, replica, cut, readers), within_seconds=60)
        for client in stalled:
            client.reset()


async def _timed(place: Place, prompt: str, at: Replica) -> tuple[Got, float]:
    return await place.get(prompt, at), time.monotonic()


async def _all_sent(place: Place, count: int) -> bool:
    return place.clients.sent.count(LIVE) >= count


async def _reached(place: Place, at: Replica, metric: str, value: float) -> bool:
    return await place.metric(at, metric) >= value
