"""Parts of redis-py that are not its public interface, used here alone.

Written for redis-py 8.1. It makes every kind of connection (TLS, login,
Sentinel), and has no way to hand on what it connected; and its Cluster client
does not tell which node has a slot. `tests/storage/test_private_parts.py` fails
where a newer one has moved them.
"""

from __future__ import annotations

from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, cast

from redis.exceptions import ConnectionError as RedisCut
from redis.exceptions import RedisClusterException, RedisError

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Iterator

    from redis.asyncio.cluster import RedisCluster
    from redis.asyncio.connection import AbstractConnection

VERSION = "8.1"

ERRORS = (RedisError, RedisClusterException, OSError, TimeoutError)
"""The errors of redis-py when Redis is unavailable; not all are `RedisError`."""


def transport_of(connection: AbstractConnection) -> asyncio.Transport:
    """Return the transport of a connection that is open; raises `ConnectionError`."""
    writer = connection._writer
    if writer is None:
        raise RedisCut("The connection was cut.")
    return cast("asyncio.Transport", writer.transport)


def forget(connection: AbstractConnection) -> None:
    """Mark *connection* as closed; its only way without a task."""
    connection._close()  # type: ignore[no-untyped-call]


@contextmanager
def errors_of_redis() -> Iterator[None]:
    """Raise `ConnectionError` for what redis-py raises that is no error of its own.

    A server that is no Redis, or a broken one, has it raise AttributeError, ValueError
    and others, at its greeting for one; uvloop raises RuntimeError for a transport that
    was cut. To the service they are outages, and the log of an outage names them.
    """
    try:
        yield
    except ERRORS:
        raise
    except Exception as error:
        raise RedisCut("The connection is of no use.") from error


def owner_of(cluster: RedisCluster, key: str) -> str:
    """Return the name of the node that has the slot of *key*, as far as known."""
    owners = cluster.nodes_manager.slots_cache.get(cluster.keyslot(key))
    return owners[0].name if owners else ""


async def close_nodes(
    cluster: RedisCluster, errors: tuple[type[Exception], ...]
) -> None:
    """Close the nodes that `aclose` passes over, about to look for slots anew."""
    for nodes in ("nodes_cache", "startup_nodes"):
        with suppress(*errors):
            await cluster.nodes_manager.aclose(nodes)
