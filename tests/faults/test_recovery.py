"""Entries that Redis lost are restored from the ledger, singly or by `rebuild`."""

from __future__ import annotations

import asyncio
import re
import sys
from typing import TYPE_CHECKING

from tests.faults.place import PROJECT
from tests.until import until

if TYPE_CHECKING:
    from tests.faults.place import Place

ENTRIES = 30
SUMMARY = re.compile(
    r"(\d+) restored, (\d+) were there, (\d+) have no picture, (\d+) are being written"
)


async def _rebuild(place: Place, rate: str) -> asyncio.subprocess.Process:
    """Start `python -m app rebuild` with the environment of the replicas."""
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "app", "rebuild", PROJECT, "--rate", rate),
        cwd=place.folder,
        env=place.environment,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


async def test_rebuild_restores_a_project_and_goes_on_where_it_was_killed(
    place: Place,
) -> None:
    """A `rebuild` after a killed one restores the rest."""
    one, other = place.replicas
    prompts = [f"{number} sunflowers" for number in range(ENTRIES)]
    await asyncio.gather(*(place.get(prompt, one) for prompt in prompts))
    await place.seen_redis.flushall()

    first = await _rebuild(place, rate="20")
    try:
        # Most of it is the start of the process.
        await until(lambda: _has_at_least(place, 5), within_seconds=30)
    finally:
        first.kill()
        await first.communicate()
    restored_before = len(await place.entries())
    # One lease may be left of the run that was killed: it runs out.
    await until(lambda: _no_lease(place))
    second = await _rebuild(place, rate="1000")
    said, shown = (text.decode() for text in await second.communicate())

    assert second.returncode == 0, shown
    found = SUMMARY.search(said)
    assert found, said
    assert tuple(map(int, found.groups())) == (
        ENTRIES - restored_before,
        restored_before,
        0,
        0,
    )
    assert 5 <= restored_before < ENTRIES
    assert f"{ENTRIES}/{ENTRIES}" in shown
    assert await place.has_entries(ENTRIES)
    for prompt in prompts:
        got = await place.get(prompt, other)
        assert (got.cache, got.hits) == ("HIT", 1)
        await place.check(prompt, calls=1)


async def test_rebuild_passes_over_what_has_no_picture(place: Place) -> None:
    """`rebuild` reports a manifest without its picture and skips it."""
    one, other = place.replicas
    for prompt in ("a rose", "a tulip"):
        await place.get(prompt, one)
    lost = (await place.get("a rose", one)).headers["Content-Location"]
    await place.lose(lost.removeprefix("/api/v1/images/"))
    await place.seen_redis.flushall()

    run = await _rebuild(place, rate="1000")
    said, _ = await run.communicate()

    assert run.returncode == 0
    found = SUMMARY.search(said.decode())
    assert found
    assert found.groups() == ("1", "0", "1", "0")
    assert (await place.get("a rose", other)).cache == "MISS"
    assert (await place.get("a tulip", other)).cache == "HIT"


async def test_rebuild_says_that_redis_is_away_and_can_be_run_again(
    place: Place,
) -> None:
    """`rebuild` without Redis ends with status 1 and one sentence."""
    await place.get("a rose", place.replicas[0])
    place.redis.kill()

    run = await _rebuild(place, rate="1000")
    _, said = await run.communicate()

    assert run.returncode == 1
    assert b"Traceback" not in said
    assert b"paintonce: " in said


async def _no_lease(place: Place) -> bool:
    return not await place.leases()


async def _has_at_least(place: Place, count: int) -> bool:
    return len(await place.entries()) >= count
