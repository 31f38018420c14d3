"""Replicas doubt a Cluster whose data did not begin in the runs of its primaries."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest
import redis

from app.errors import CacheUnavailable
from app.storage.redis import keys
from app.storage.redis.client.traffic import open_redis
from tests.redis_topologies import redis_cluster
from tests.until import until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from app.storage.redis.client.traffic import RedisConnections
    from tests.redis_topologies import RedisCluster

# A key of each primary: their slots are 12,182, 5,061 and 866.
KEYS = ("foo", "bar", "hello")


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[RedisCluster]:
    """Run three primaries."""
    with redis_cluster(tmp_path / "cluster") as started:
        yield started


def on(cluster: RedisCluster, key: str) -> redis.Redis:
    """Open a client of the primary of *key*."""
    return redis.Redis.from_url(cluster.owner(key).url)


async def until_answered(connections: RedisConnections, key: str) -> None:
    """Return once the primary of *key* answers."""

    async def is_answered() -> bool:
        try:
            await connections.commands.execute("EXISTS", key)
        except CacheUnavailable:
            return False
        return True

    await until(is_answered)


async def doubts(cluster: RedisCluster) -> int:
    """Return the doubts of a replica that has just started."""
    async with open_redis(cluster.url) as connections:
        for key in KEYS:
            await until_answered(connections, key)
        return connections.runs.doubts


async def test_data_of_one_run_is_believed(cluster: RedisCluster) -> None:
    """Replicas of an unbroken Cluster believe its data."""
    async with open_redis(cluster.url) as connections:
        for key in KEYS:
            await connections.commands.execute("SET", key, "nest")

        assert await doubts(cluster) == connections.runs.doubts == 0


async def test_a_replica_keeps_the_beginning_through_a_flush(
    cluster: RedisCluster,
) -> None:
    """After a FLUSHALL of one primary a running replica writes the hash again."""
    async with open_redis(cluster.url) as connections:
        for key in KEYS:
            await connections.commands.execute("SET", key, "nest")
        with on(cluster, keys.BEGAN) as client:
            client.flushall()
        assert await doubts(cluster) == 1

        await connections.ping()
        assert await doubts(cluster) == 0


async def test_one_restored_primary_is_doubted_by_all(cluster: RedisCluster) -> None:
    """A primary that is restored is doubted with the first command that it gets."""
    async with open_redis(cluster.url) as before:
        for key in KEYS:
            await before.commands.execute("SET", key, "nest")
        server = cluster.owner("foo")
        with on(cluster, "foo") as client:
            client.save()
        server.kill()
        server.start()
        await until_answered(before, "foo")

        assert before.runs.doubts == 1
        assert await doubts(cluster) == 1


async def test_data_whose_beginning_is_unknown_is_doubted(
    cluster: RedisCluster,
) -> None:
    """Data of an earlier release at any primary is doubted."""
    for key in KEYS:
        with on(cluster, key) as client:
            client.set(key, "nest")

        assert [await doubts(cluster) for _ in range(2)] == [1, 1]
        with on(cluster, key) as client:
            client.flushall()


async def test_an_emptied_cluster_begins_anew(cluster: RedisCluster) -> None:
    """A Cluster that is emptied at all primaries is believed again."""
    server = cluster.owner("foo")
    assert await doubts(cluster) == 0
    server.kill()
    server.start()
    assert await doubts(cluster) == 1
    with ExitStack() as stack:
        for key in (*KEYS, keys.BEGAN):
            stack.enter_context(on(cluster, key)).flushall()

    assert [await doubts(cluster) for _ in range(2)] == [0, 0]


async def test_a_primary_that_is_away_at_the_start_is_doubted(
    cluster: RedisCluster,
) -> None:
    """Without one of its primaries a Cluster is doubted, and the others answer."""
    assert await doubts(cluster) == 0
    cluster.owner("foo").kill()

    async with open_redis(cluster.url) as connections:
        await until_answered(connections, "bar")
        assert connections.runs.doubts == 1
