"""Redis loses its data in the middle of a painting."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from redis.asyncio import Redis

from tests.faults.installation import installation
from tests.servers import TcpProxy, redis_server
from tests.until import until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.faults.place import Place
    from tests.replica import Replica
    from tests.servers import S3Server

PROMPT = "a lighthouse in a storm"


async def test_row_07_a_redis_that_restarts_in_the_middle_of_a_painting(
    place: Place,
) -> None:
    """After Redis restarts empty the leader takes its lease again and commits."""
    leader, other = place.replicas
    led = await place.held(PROMPT, leader)

    place.redis.kill()
    place.redis.start()
    await until(lambda: _has_leases(place, 1))
    followed = place.asking(PROMPT, other)
    await until(lambda: _follows(place, other))
    await place.provider.release()

    assert (await led).cache == "MISS"
    assert (await followed).cache == "HIT"
    await place.check(PROMPT, calls=1)


async def test_row_07_a_picture_that_lands_while_redis_is_away_is_kept(
    place: Place,
) -> None:
    """A picture that is done without Redis is served, and restored later."""
    leader, other = place.replicas
    await place.provider.hold()
    waiting = [place.asking(PROMPT, leader) for _ in range(3)]
    await place.provider.until_held()

    place.redis.kill()
    await place.provider.release()
    got = await asyncio.gather(*waiting)
    place.redis.start()
    await place.until_counting(PROMPT, other)

    assert sorted((one.status, one.cache) for one in got) == [
        (200, "HIT"),
        (200, "HIT"),
        (200, "MISS"),
    ]
    await place.check(PROMPT, calls=1)


async def test_row_08_a_failover_that_loses_the_lease_costs_one_more_call(
    tmp_path: Path, s3_server: S3Server
) -> None:
    """After a failover loses the lease two replicas paint; the first picture wins."""
    with redis_server(tmp_path / "standby") as standby:
        async with (
            installation(tmp_path, s3_server) as place,
            TcpProxy(place.redis.port) as wire,
            Redis.from_url(standby.url) as client,
        ):
            first, second = place.replicas
            await place.seen_redis.config_set("repl-diskless-sync-delay", 0)
            await client.replicaof("127.0.0.1", wire.port)
            await until(lambda: _is_in_step(client))
            await wire.refuse()
            led = await place.held(PROMPT, first)
            first.pause()

            place.redis.kill()
            await client.replicaof("NO", "ONE")
            # The address moves, as a virtual one does.
            await client.config_set("port", place.redis.port)
            also_led = asyncio.create_task(place.persistently(PROMPT, second))
            await place.provider.until_held(2)
            await place.provider.release()
            winner = await also_led
            first.resume()
            late = await led

            assert (winner.cache, late.cache) == ("MISS", "HIT")
            await place.check(PROMPT, calls=2)
            assert len(await place.objects()) == 1


async def _has_leases(place: Place, count: int) -> bool:
    return len(await place.leases()) == count


async def _follows(place: Place, at: Replica) -> bool:
    accepted = await place.get(PROMPT, at, prefer="respond-async")
    return accepted.status == 202


async def _is_in_step(standby: Redis) -> bool:
    return bool((await standby.info("replication"))["master_link_status"] == "up")
