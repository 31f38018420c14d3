"""Redis hangs, dies, restarts empty, is too busy, or drops connections."""

from __future__ import annotations

import asyncio
import statistics
from typing import TYPE_CHECKING

import pytest

from app.prompt_cache.look_ups import LEDGER_TIMEOUT_SECONDS
from app.storage.redis.client.traffic import COMMAND_TIMEOUT_SECONDS

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.faults.place import Place
    from tests.servers import RedisServer


PROMPT = "a lighthouse in a storm"
ANSWERED_WITHIN_SECONDS = 2.0
HIT_WITHIN_SECONDS = 3.0
# The promise is 50 ms, on a machine of one's own.
HIT_MEDIAN_SECONDS = 0.25
UNCOUNTED = "paintonce_uncounted_hits_total"


async def _hits_go_on_and_nothing_is_paid(place: Place) -> None:
    """Assert that each replica serves hits and refuses misses without Redis."""
    prompts = [f"never seen before, {number}" for number in range(20)]
    for at in place.replicas:
        hit = asyncio.gather(*(place.get(PROMPT, at) for _ in range(10)))
        missed = asyncio.gather(*(place.get(prompt, at) for prompt in prompts))
        got, refused = await hit, await missed

        assert {(one.status, one.cache, one.hits) for one in got} == {
            (200, "HIT", None)
        }
        assert {(one.status, one.code) for one in refused} == {
            (503, "cache_unavailable")
        }
        assert max(one.seconds for one in (*got, *refused)) < ANSWERED_WITHIN_SECONDS
        assert await place.metric(at, UNCOUNTED) >= 10
        alive = await place.clients.call("GET", f"{at.url}/healthz")
        assert alive.status == 200
        await place.until_ready(at, "degraded")
        assert await place.readiness(at, strict=True) == (503, "degraded")
    assert await place.provider.all_calls() == {PROMPT: 1}


async def _all_is_well_again(place: Place) -> None:
    """Assert that both replicas count and paint again by themselves."""
    for at in place.replicas:
        await place.until_ready(at)
        await place.until_counting(PROMPT, at)
    new = await place.get("the morning after", place.replicas[0])
    assert (new.status, new.cache) == (200, "MISS")
    await place.check(PROMPT, calls=1)


def _take_away(redis: RedisServer, fault: str) -> Callable[[], None]:
    """Freeze Redis or kill it; return what brings it back."""
    if fault == "frozen":
        redis.freeze()
        return redis.thaw
    redis.kill()
    # It comes back empty.
    return redis.start


either_fault = pytest.mark.parametrize("fault", ["frozen", "killed"])


@either_fault
async def test_rows_06_and_07_a_redis_that_is_away_stops_paying_and_nothing_else(
    place: Place, fault: str
) -> None:
    """Hits come from the ledger and misses are refused in time, until Redis is back.

    Then entries are restored and not painted.
    """
    await place.get(PROMPT, place.replicas[0])

    bring_back = _take_away(place.redis, fault)
    await _hits_go_on_and_nothing_is_paid(place)

    bring_back()
    await _all_is_well_again(place)


@either_fault
async def test_rows_06_and_07_hits_are_as_quick_as_ever(
    place: Place, fault: str, record_property: Callable[[str, object], None]
) -> None:
    """After two failed calls the breaker is open, and hits are as quick as before."""
    (at, _) = place.replicas
    await place.get(PROMPT, at)

    bring_back = _take_away(place.redis, fault)
    hits = [await place.get(PROMPT, at) for _ in range(40)]
    bring_back()

    seconds = sorted(hit.seconds for hit in hits)
    record_property("median_hit_seconds", statistics.median(seconds))
    assert {(hit.status, hit.cache, hit.hits) for hit in hits} == {(200, "HIT", None)}
    assert seconds[-1] < HIT_WITHIN_SECONDS
    assert seconds[-3] < ANSWERED_WITHIN_SECONDS / 2
    assert statistics.median(seconds) < HIT_MEDIAN_SECONDS


async def test_row_07_flushall_restores_from_the_ledger(place: Place) -> None:
    """After FLUSHALL the next request is a counted HIT without a payment."""
    one, other = place.replicas
    await place.get(PROMPT, one)
    await place.seen_redis.flushall()

    herd = await place.clients.herd(PROMPT, one, other, count=40)

    assert {(got.status, got.cache) for got in herd} == {(200, "HIT")}
    assert sorted(got.hits or 0 for got in herd) == list(range(1, 41))
    await place.check(PROMPT, calls=1)


async def test_row_10_more_requests_than_connections_are_answered_in_time(
    place: Place,
) -> None:
    """Redis hangs, and more requests than connections wait for it only once.

    They take no longer than two time-outs more than what a busy machine needs for as
    many that wait for nothing.
    """
    at = place.replicas[0]
    await place.get(PROMPT, at)
    prompts = [f"impatient painter {number}" for number in range(100)]
    unhurried = await asyncio.gather(
        *(place.get(PROMPT, at) for _ in range(100)),
        *(place.clients.look(prompt, at) for prompt in prompts),
    )

    place.redis.freeze()
    got = await asyncio.gather(
        *(place.get(PROMPT, at) for _ in range(100)),
        *(place.get(prompt, at) for prompt in prompts),
    )
    place.redis.thaw()

    assert [one.json() for one in got[:100] if one.status != 200] == []
    assert {one.status for one in got[100:]} == {503}
    slowest, usual = (max(one.seconds for one in all_) for all_ in (got, unhurried))
    assert slowest < usual + COMMAND_TIMEOUT_SECONDS + LEDGER_TIMEOUT_SECONDS
    await _all_is_well_again(place)
    assert not set(prompts) & set(await place.provider.all_calls())


async def test_row_12_connections_that_were_killed_are_made_again(
    place: Place,
) -> None:
    """Connections that Redis closed are replaced without a lost answer or count."""
    for at in place.replicas:
        await place.get(PROMPT, at)

    for kind in ("normal", "pubsub"):
        await place.seen_redis.client_kill_filter(_type=kind, skipme=True)
    got = await place.clients.herd(PROMPT, *place.replicas, count=20)

    assert {(one.status, one.cache) for one in got} == {(200, "HIT")}
    assert sorted(one.hits or 0 for one in got) == list(range(2, 22))
    for at in place.replicas:
        assert await place.metric(at, UNCOUNTED) == 0
