"""Leaders of a painting that are left by clients, die, sleep or stall."""

from __future__ import annotations

import ast
import asyncio
import time
from typing import TYPE_CHECKING

import aiohttp
import pytest

from app.storage.redis import scripts
from tests.faults.clients import RudeClient
from tests.faults.installation import LEASE_SECONDS, installation
from tests.replica import ROOT
from tests.until import until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.faults.clients import Got
    from tests.faults.place import Place
    from tests.servers import S3Server

PROMPT = "a lighthouse in a storm"
GONE = (
    'paintonce_requests_total{method="GET",route="/api/v1/live/generate",status="499"}'
)
# A poll of a follower at its longest, and what a busy machine adds.
TAKEN_OVER_WITHIN_SECONDS = LEASE_SECONDS + 0.5 + 2.0


async def test_row_01_a_client_that_resets_loses_nothing(place: Place) -> None:
    """After its client resets a painting goes on, and the next request is a HIT."""
    replica, other = place.replicas
    await place.provider.hold()
    client = await RudeClient.ask(PROMPT, replica)
    await place.provider.until_held()

    client.reset()
    await until(lambda: place.has_counted(replica, GONE))
    await place.provider.release()
    await until(lambda: place.has_entries(1))

    for at in (replica, other):
        assert (await place.get(PROMPT, at)).cache == "HIT"
    await place.check(PROMPT, calls=1)


async def test_row_03_a_killed_leader_costs_one_more_call(place: Place) -> None:
    """After a leader is killed one follower takes over when the lease has expired."""
    leader, follower = place.replicas
    lost = await place.held(PROMPT, leader)
    waiting = [place.asking(PROMPT, follower) for _ in range(5)]
    await place.until_following(PROMPT, follower)

    killed_at = time.monotonic()
    await leader.kill()
    await place.provider.until_aborted()
    await place.provider.until_held()
    took_seconds = time.monotonic() - killed_at
    await place.provider.release()

    with pytest.raises(aiohttp.ClientError):
        await lost
    got = await asyncio.gather(*waiting)
    assert took_seconds < TAKEN_OVER_WITHIN_SECONDS
    assert sorted(one.cache for one in got) == ["HIT"] * 4 + ["MISS"]
    await place.check(PROMPT, calls=2)
    assert len(await place.objects()) == 1


async def _overtaken(place: Place) -> tuple[asyncio.Task[Got], asyncio.Task[Got]]:
    """Pause a leader until another replica leads too, and let both pictures go.

    Return the request at the leader that still sleeps, and the one at the other.
    """
    sleeper, other = place.replicas
    slept = await place.held(PROMPT, sleeper)
    sleeper.pause()
    led = place.asking(PROMPT, other)
    await place.provider.until_held(2)
    await place.provider.release()
    return slept, led


async def test_row_04_a_leader_that_slept_past_its_lease_adopts_the_winner(
    place: Place,
) -> None:
    """A leader that slept past its lease drops its picture and serves the winner's."""
    sleeper, _ = place.replicas
    slept, won = await _overtaken(place)

    first = await won
    sleeper.resume()
    second = await slept

    assert (first.cache, second.cache) == ("MISS", "HIT")
    await place.check(PROMPT, calls=2)
    (kept,) = await place.objects()
    assert first.headers["Content-Location"].endswith(kept)
    assert sleeper.events("late picture refused")


async def test_row_04_a_sleeper_that_wakes_first_waits_for_its_turn(
    place: Place,
) -> None:
    """A leader that wakes without its lease waits for the new leader's picture."""
    sleeper, _ = place.replicas
    slept, led = await _overtaken(place)
    # Both pictures are on their way now; who is first is open.
    sleeper.resume()

    got = await asyncio.gather(slept, led)

    assert sorted(one.cache for one in got) == ["HIT", "MISS"]
    await place.check(PROMPT, calls=2)
    assert len(await place.objects()) == 1


async def test_row_28_a_stall_shorter_than_the_lease_costs_nothing(
    tmp_path: Path, s3_server: S3Server
) -> None:
    """A loop that stalls for 500 ms loses no lease and pays nothing twice."""
    async with installation(tmp_path, s3_server, LEASE_SECONDS="3") as place:
        leader, follower = place.replicas
        led = await place.held(PROMPT, leader)
        waiting = place.asking(PROMPT, follower)
        await place.until_following(PROMPT, follower)

        leader.pause()
        await asyncio.sleep(0.5)  # the stall itself
        leader.resume()
        await place.provider.release()

        assert [(await led).cache, (await waiting).cache] == ["MISS", "HIT"]
        await place.check(PROMPT, calls=1)
        assert not leader.events("lease lost")
        # The watchdog has seen it.
        await until(lambda: place.has_counted(leader, "paintonce_loop_stalls_total"))


def test_row_24_no_wall_clock_decides_about_a_lease() -> None:
    """No code or script reads a wall clock to decide about a lease."""
    modules = ("flight/leases.py", "flight/flights.py", "painting/painter.py")
    for name in modules:
        tree = ast.parse((ROOT / "app" / "prompt_cache" / name).read_text())
        asked = {
            ast.unparse(node) for node in ast.walk(tree) if isinstance(node, ast.Call)
        }
        assert not {call for call in asked if call.startswith(("time.time", "time()"))}
    for script in (scripts.ACQUIRE, scripts.HOLD, scripts.COMMIT, scripts.RELEASE):
        assert "TIME" not in script.source
        assert "EXAT" not in script.source
