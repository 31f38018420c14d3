"""The private parts of redis-py are where `private_parts` expects them."""

from __future__ import annotations

import asyncio
import inspect
from importlib.metadata import version

import pytest
from redis.asyncio import Redis
from redis.asyncio.cluster import NodesManager, RedisCluster
from redis.exceptions import ConnectionError as RedisCut

from app.storage.redis.client import private_parts


def test_this_is_the_redis_py_that_was_read() -> None:
    """The installed redis-py is the version that was read."""
    assert version("redis").startswith(f"{private_parts.VERSION}.")


async def test_a_connection_is_taken_over_and_let_go(redis_url: str) -> None:
    """A connection's transport can be taken over without closing it."""
    async with Redis.from_url(redis_url, protocol=2) as client:
        connection = client.connection_pool.make_connection()  # type: ignore[no-untyped-call]
        with pytest.raises(RedisCut):
            private_parts.transport_of(connection)
        await connection.connect()
        transport = private_parts.transport_of(connection)

        assert isinstance(transport, asyncio.Transport)
        assert not transport.is_closing()
        private_parts.forget(connection)
        with pytest.raises(RedisCut):
            private_parts.transport_of(connection)
        transport.close()


def test_a_cluster_keeps_its_nodes_where_they_are_looked_for() -> None:
    """A Cluster client has its slots and nodes under the expected names."""
    made = inspect.getsource(NodesManager.__init__)

    for name in ("slots_cache", "nodes_cache", "startup_nodes"):
        assert f"self.{name}" in made
    assert list(inspect.signature(NodesManager.aclose).parameters) == ["self", "attr"]
    initialize = inspect.signature(RedisCluster.initialize).parameters
    assert "last_failed_node_name" in initialize
