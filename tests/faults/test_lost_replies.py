"""A command took effect, and its reply was lost."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from app.storage.redis import scripts
from tests.faults.installation import gated_installation, installation
from tests.faults.lossy_wire import lossy_wire
from tests.faults.store_gate import Fault
from tests.servers import redis_server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.faults.lossy_wire import LossyWire
    from tests.faults.place import Place
    from tests.servers import S3Server

PROMPT = "a lighthouse in a storm"
# So long that waiting for a lease to expire would be noticed.
LEASE_SECONDS = "30"
BREAKER = "paintonce_redis_breaker_open"


@pytest.fixture
async def wired(
    tmp_path: Path, s3_server: S3Server
) -> AsyncIterator[tuple[Place, LossyWire]]:
    """Run a replica that reaches Redis through the wire, and one without it."""
    with redis_server(tmp_path / "redis") as redis:
        async with (
            lossy_wire(redis.port) as wire,
            installation(
                tmp_path,
                s3_server,
                replicas=0,
                redis=redis,
                LEASE_SECONDS=LEASE_SECONDS,
            ) as place,
        ):
            await place.start(REDIS_URL=wire.url)
            await place.start()
            # So that Redis knows the scripts, and every connection is made.
            for at in place.replicas:
                await place.get("the first of the day", at)
            await place.get("the second of the day", place.replicas[0])
            yield place, wire


@pytest.mark.parametrize("wire_is", ["cut", "silent"])
async def test_row_05_a_lost_acquire_is_no_lock(
    wired: tuple[Place, LossyWire], wire_is: str
) -> None:
    """A replica whose acquire reply was lost asks again with its token, and leads."""
    place, wire = wired
    at, other = place.replicas
    wire.lose_reply_to(scripts.ACQUIRE, silent=wire_is == "silent")

    first = await place.get(PROMPT, at)
    await wire.until_lost()
    second = await place.get(PROMPT, other)

    # A silence costs the second after which it is one.
    assert (first.status, first.cache) == (200, "MISS")
    assert first.seconds < 5
    assert (second.status, second.cache) == (200, "HIT")
    assert await place.metric(at, BREAKER) == 0
    await place.check(PROMPT, calls=1)


async def test_row_05_a_lost_commit_is_repeated(
    wired: tuple[Place, LossyWire],
) -> None:
    """A commit whose reply was lost is repeated and ends the flight."""
    place, wire = wired
    at, other = place.replicas
    wire.lose_reply_to(scripts.COMMIT)

    first = await place.get(PROMPT, at)
    await wire.until_lost()
    second = await place.get(PROMPT, other)

    assert (first.cache, second.cache, second.hits) == ("MISS", "HIT", 1)
    await place.check(PROMPT, calls=1)


async def test_row_05_a_lost_look_up_is_not_counted_twice(
    wired: tuple[Place, LossyWire],
) -> None:
    """A look-up whose reply was lost is answered by the ledger and counted once."""
    place, wire = wired
    at, other = place.replicas
    await place.get(PROMPT, at)
    wire.lose_reply_to(scripts.LOOK_UP)

    uncounted = await place.get(PROMPT, at)
    await wire.until_lost()
    next_one = await place.get(PROMPT, other)
    painted = await place.get("the third of the day", at)

    assert (uncounted.cache, uncounted.hits) == ("HIT", None)
    assert (next_one.cache, next_one.hits) == ("HIT", 2)
    assert (painted.status, painted.cache) == (200, "MISS")
    assert await place.metric(at, BREAKER) == 0
    await place.check(PROMPT, calls=1)


@pytest.mark.parametrize("category", ["generated", "prompts"])
async def test_row_05_a_put_whose_reply_is_lost_is_our_own(
    tmp_path: Path, s3_server: S3Server, category: str
) -> None:
    """A writer whose PUT lost its reply finds its own manifest, and wins."""
    async with gated_installation(tmp_path, s3_server, replicas=1) as (place, gate):
        gate.on("PUT", f"/{category}/", Fault.LOSE_REPLY, times=1)

        got = await place.get(PROMPT, place.replicas[0])
        await gate.until_met()

        assert (got.status, got.cache) == (200, "MISS")
        await place.check(PROMPT, calls=1)
        assert len(await place.objects()) == 1


@pytest.mark.parametrize(
    "mode", ["reset_before_headers", "reset_in_body", "short_body"]
)
async def test_row_23_a_paid_call_is_never_sent_again(place: Place, mode: str) -> None:
    """A provider's reply that is lost is a failure, and the call is not repeated."""
    await place.provider.behave(mode)

    herd = await place.clients.herd(PROMPT, *place.replicas, count=20)

    assert {(got.status, got.code) for got in herd} == {(502, "provider_failed")}
    assert not await place.entries()
    assert not await place.objects()
    await place.check(PROMPT, calls=1, answers=0)


async def test_row_23_a_call_that_may_have_been_billed_counts(
    place: Place,
) -> None:
    """A call whose connection was cut after the request counts as spend."""
    await place.provider.behave("reset_in_body")
    at = place.replicas[0]

    await place.get(PROMPT, at)

    spend = await place.metric(at, 'paintonce_spend_total{model="default"}')
    assert spend == pytest.approx(0.04)
    assert json.dumps(await place.provider.all_calls()) == json.dumps({PROMPT: 1})
