"""The object store hangs, is gone, or has lost a picture."""

from __future__ import annotations

import asyncio
import statistics
from typing import TYPE_CHECKING

from tests.faults.installation import installation
from tests.servers import TcpProxy, object_store_server

if TYPE_CHECKING:
    from pathlib import Path

    from tests.faults.place import Place
    from tests.replica import Replica
    from tests.servers import S3Server

PROMPT = "a lighthouse in a storm"
# The promise is two seconds, on a machine of one's own; two time-outs of the
# store in a row are more than this.
ANSWERED_WITHIN_SECONDS = 3.0


async def _hot_bytes_go_on(place: Place, hot: Replica, cold: Replica) -> None:
    """Assert that hot pictures are served and all others 503 without the store."""
    entries = await place.entries()
    prompts = [f"never seen before, {number}" for number in range(10)]
    served, refused, missed = await asyncio.gather(
        place.clients.herd(PROMPT, hot, count=20),
        place.clients.herd(PROMPT, cold, count=20),
        asyncio.gather(*(place.get(one, at) for one in prompts for at in (hot, cold))),
    )

    assert {(one.status, one.cache) for one in served} == {(200, "HIT")}
    assert {(one.status, one.code) for one in (*refused, *missed)} == {
        (503, "storage_unavailable")
    }
    # Single ones may be late on a busy machine.
    assert statistics.median(one.seconds for one in served) < 1
    answers = (*served, *refused, *missed)
    assert max(one.seconds for one in answers) < ANSWERED_WITHIN_SECONDS
    assert await place.entries() == entries
    assert await place.provider.all_calls() == {PROMPT: 1}
    for at in (hot, cold):
        await place.until_ready(at, "degraded")
        assert await place.readiness(at, strict=True) == (503, "degraded")


async def _all_is_well_again(place: Place) -> None:
    """Assert that hits and paintings work again by themselves."""
    for at in place.replicas:
        await place.until_ready(at)
        assert (await place.get(PROMPT, at)).cache == "HIT"
    # Reads fail at once for at most a second after an outage (decision 5).
    await asyncio.sleep(1)
    new = await place.get("the morning after", place.replicas[1])
    assert (new.status, new.cache) == (200, "MISS")
    await place.check(PROMPT, calls=1)


async def test_row_13_a_store_that_hangs_is_no_reason_to_paint_again(
    tmp_path: Path,
) -> None:
    """While the store hangs hot pictures are served, all else is 503, none painted."""
    with object_store_server(tmp_path / "s3") as store:
        # A lease outlives what the leader waits for the store.
        async with installation(
            tmp_path, store, replicas=1, LEASE_SECONDS="3"
        ) as place:
            (hot,) = place.replicas
            (cold,) = await place.start(HOT_TIER_BYTES="0")
            await place.get(PROMPT, hot)

            store.freeze()
            await _hot_bytes_go_on(place, hot, cold)

            store.thaw()
            await _all_is_well_again(place)


async def test_row_13_a_store_that_is_gone_is_no_reason_to_paint_again(
    tmp_path: Path, s3_server: S3Server
) -> None:
    """A store that refuses connections is the same outage as one that hangs."""
    async with TcpProxy(_port_of(s3_server)) as wire:
        endpoint = f"http://127.0.0.1:{wire.port}"
        async with installation(
            tmp_path, s3_server, replicas=1, store_endpoint=endpoint
        ) as place:
            (hot,) = place.replicas
            (cold,) = await place.start(HOT_TIER_BYTES="0")
            await place.get(PROMPT, hot)

            await wire.refuse()
            await _hot_bytes_go_on(place, hot, cold)

            await wire.heal()
            await _all_is_well_again(place)


async def test_rows_06_and_13_with_both_away_every_answer_is_in_time(
    tmp_path: Path,
) -> None:
    """Without Redis and store every request is 503 within two seconds."""
    with object_store_server(tmp_path / "s3") as store:
        async with installation(tmp_path, store) as place:
            await place.get(PROMPT, place.replicas[0])

            store.freeze()
            place.redis.freeze()
            refused = await asyncio.gather(
                *(
                    place.get(prompt, at)
                    for prompt in (PROMPT, "never seen before")
                    for at in place.replicas
                )
            )
            place.redis.thaw()
            store.thaw()

            assert {(got.status, got.code) for got in refused} == {
                (503, "cache_unavailable")
            }
            assert max(got.seconds for got in refused) < ANSWERED_WITHIN_SECONDS
            for at in place.replicas:
                await place.until_counting(PROMPT, at)
            await _all_is_well_again(place)


async def test_row_14_a_lost_picture_is_painted_once_more(
    tmp_path: Path, s3_server: S3Server
) -> None:
    """A lost picture is painted once for a whole herd."""
    async with installation(tmp_path, s3_server, HOT_TIER_BYTES="0") as place:
        one, other = place.replicas
        first = await place.get(PROMPT, one)
        await place.lose(*await place.objects())
        place.clients.answers.clear()

        herd = await place.clients.herd(PROMPT, one, other, count=40)

        assert {got.status for got in herd} == {200}
        assert sorted(got.cache for got in herd) == ["HIT"] * 39 + ["MISS"]
        assert herd[0].headers["ETag"] != first.headers["ETag"]
        await place.check(PROMPT, calls=2)
        assert len(await place.objects()) == 1
        assert len(await place.objects("prompts")) == 1


async def test_row_14_a_lost_picture_whose_painting_fails_is_not_paid_by_everyone(
    tmp_path: Path, s3_server: S3Server
) -> None:
    """A lost picture whose painting fails is remembered as failed."""
    async with installation(tmp_path, s3_server, HOT_TIER_BYTES="0") as place:
        one, other = place.replicas
        await place.get(PROMPT, one)
        await place.lose(*await place.objects())
        await place.provider.behave("moderation")

        herd = await place.clients.herd(PROMPT, one, other, count=20)

        assert {(got.status, got.code) for got in herd} == {(422, "prompt_rejected")}
        await place.check(PROMPT, calls=2)


async def test_a_replica_that_starts_while_the_store_is_away_waits_for_it(
    tmp_path: Path,
) -> None:
    """A replica that starts without its store is not ready until the store is there."""
    with object_store_server(tmp_path / "s3") as store:
        async with installation(tmp_path, store, replicas=0) as place:
            store.freeze()
            (replica,) = await place.start(ready=False)
            assert await place.readiness(replica) == (503, "starting")
            refused = await place.get(PROMPT, replica)
            assert (refused.status, refused.code) == (503, "storage_unavailable")

            store.thaw()
            await place.until_ready(replica)
            # Reads fail at once for at most a second after an outage (decision 5).
            await asyncio.sleep(1)

            assert (await place.get(PROMPT, replica)).cache == "MISS"
            await place.check(PROMPT, calls=1)


def _port_of(store: S3Server) -> int:
    return int(store.endpoint.rpartition(":")[2])
