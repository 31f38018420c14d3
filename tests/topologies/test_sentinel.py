"""Replicas over a primary that Sentinel watches, and that is lost under load."""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import dataclass, field
from itertools import count
from typing import TYPE_CHECKING

import pytest

from tests.faults.installation import installation
from tests.redis_topologies import watched_redis
from tests.topologies.journeys import (
    herds_are_painted_once,
    prompts_are_shared,
    transient_images_are_shared,
)
from tests.until import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from pathlib import Path

    from tests.faults.clients import Got
    from tests.faults.place import Place
    from tests.redis_topologies import WatchedRedis
    from tests.replica import Replica
    from tests.servers import S3Server

logger = logging.getLogger(__name__)

# A failover by Sentinel: the death is noticed, agreed upon, and acted on.
RECOVERED_WITHIN_SECONDS = 30.0
PAINTED_AFTERWARDS = 6
AT_ONCE = 3


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[WatchedRedis]:
    """Run a primary, a replica of it and three sentinels."""
    with watched_redis(tmp_path / "redis") as started:
        yield started


@pytest.fixture
async def place(
    watched: WatchedRedis, s3_server: S3Server, tmp_path: Path
) -> AsyncIterator[Place]:
    """Run two replicas that find Redis by the sentinels."""
    async with installation(
        tmp_path, s3_server, redis=watched.primary, redis_url=watched.url
    ) as started:
        yield started


async def test_replicas_share_everything_over_sentinel(place: Place) -> None:
    """Two replicas over Sentinel share all data."""
    await prompts_are_shared(place, [f"lighthouse number {n}" for n in range(3)])
    await transient_images_are_shared(place)
    await herds_are_painted_once(place, [f"a herd on hill {n}" for n in range(3)])


@dataclass
class Load:
    """Clients that request painted and new prompts until they are stopped."""

    place: Place
    painted: list[str]
    over: bool = False
    hits: list[Got] = field(default_factory=list)
    refusals: list[Got] = field(default_factory=list)
    misses: list[tuple[float, float]] = field(default_factory=list)
    new: set[str] = field(default_factory=set)
    numbers: Iterator[int] = field(default_factory=count)

    async def ask_for_painted(self) -> None:
        """Request painted prompts again and again."""
        while not self.over:
            for prompt in self.painted:
                for at in self.place.replicas:
                    self.hits.append(await self.place.get(prompt, at))
            await asyncio.sleep(0.02)

    async def ask_for_new(self) -> None:
        """Request one new prompt after the other at both replicas."""
        while not self.over:
            prompt = f"a kite in gust {next(self.numbers)}"
            await asyncio.gather(*(self._insist(prompt, n) for n in range(2 * AT_ONCE)))
            self.new.add(prompt)

    async def _insist(self, prompt: str, number: int) -> None:
        """Repeat until the picture is there."""
        at = self.place.replicas[number % 2]
        while (got := await self.place.get(prompt, at)).status != 200:
            self.refusals.append(got)
            await asyncio.sleep(0.1)
        if got.cache == "MISS":
            now = time.monotonic()
            self.misses.append((now - got.seconds, now))

    def misses_begun_after(self, moment: float) -> list[float]:
        """Return when the paintings requested after *moment* ended."""
        return [ended for began, ended in self.misses if began > moment]

    async def until(self, holds: Callable[[], bool]) -> None:
        """Return once *holds* is true of the records."""

        async def look() -> bool:
            return holds()

        await until(look, within_seconds=RECOVERED_WITHIN_SECONDS)


@pytest.mark.parametrize("fault", ["killed", "frozen"])
async def test_a_primary_that_is_lost_under_load_is_replaced(
    place: Place, watched: WatchedRedis, fault: str
) -> None:
    """After a lost primary HITs go on, MISSes return, and no prompt has two images."""
    await place.provider.behave("ok", delay_seconds=0.1)
    painted = [f"lighthouse number {n}" for n in range(4)]
    for prompt in painted:
        await place.get(prompt, place.replicas[0])
    load = Load(place, painted)

    async with asyncio.TaskGroup() as clients:
        clients.create_task(load.ask_for_painted())
        for _ in range(AT_ONCE):
            clients.create_task(load.ask_for_new())
        await load.until(lambda: len(load.new) >= AT_ONCE)
        watched.primary.kill() if fault == "killed" else watched.primary.freeze()
        lost_at = time.monotonic()
        await load.until(
            lambda: len(load.misses_begun_after(lost_at)) >= PAINTED_AFTERWARDS
        )
        load.over = True

    recovered_after = min(load.misses_begun_after(lost_at)) - lost_at
    # Shown with --log-cli-level=INFO.
    logger.info("%s: painted again after %.1f s", fault, recovered_after)
    assert load.refusals
    assert {hit.status for hit in load.hits} == {200}
    assert {got.status for got in load.refusals} == {503}
    calls = await place.provider.all_calls()
    assert set(calls) == {*painted, *load.new}
    assert max(calls.values()) <= 2
    for prompt in calls:
        assert place.clients.answers_to(prompt) == 1


async def test_a_primary_that_comes_back_is_not_believed(
    place: Place, watched: WatchedRedis
) -> None:
    """A former primary that comes back does not restore old data."""
    prompt, one, other = "a lighthouse in a storm", *place.replicas
    watched.primary.freeze()
    await until(lambda: _is_painted(place, prompt), within_seconds=30)
    before = (await place.get(prompt, other)).hits

    watched.primary.thaw()
    watched.demote_first()
    # A replica that is still connected to it gets errors, and serves uncounted
    # until a probe finds the new primary.
    got: list[Got] = []
    for at in (one, other, one, other):
        await until(lambda at=at: _is_counted(place, prompt, at, got))  # type: ignore[misc]

    assert before is not None
    assert {hit.status for hit in got} == {200}
    counted = [hit.hits for hit in got if hit.hits is not None]
    # None was counted where it is lost: the numbers go on, one by one.
    assert counted == list(range(before + 1, before + 5))
    assert await place.provider.calls(prompt) == 1


async def _is_counted(place: Place, prompt: str, at: Replica, got: list[Got]) -> bool:
    """Request a hit, record it, and return whether it was counted."""
    got.append(await place.get(prompt, at))
    return got[-1].hits is not None


async def _is_painted(place: Place, prompt: str) -> bool:
    """Return whether both replicas have the picture and count."""
    got = [await place.get(prompt, at) for at in place.replicas]
    return got[1].status == 200 and got[1].hits is not None
