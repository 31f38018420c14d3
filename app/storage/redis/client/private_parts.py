"""Parts of redis-py that are not its public interface, used here alone.

Written for redis-py 8.1. It makes every kind of connection (TLS, login,
Sentinel), and has no way to hand on what it connected; and its Cluster client
does not tell which node has a slot. It has no error of its own for a connection
that is lost just before a write. `tests/storage/test_private_parts.py` fails
where a newer one has moved them.
"""

from __future__ import annotations

from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, cast

from redis.exceptions import ConnectionError as RedisCut

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Iterator

    from redis.asyncio.cluster import RedisCluster
    from redis.asyncio.connection import AbstractConnection

VERSION = "8.1"


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
def cuts_as_errors_of_redis() -> Iterator[None]:
    """Raise `ConnectionError` for a connection that was lost just before a write."""
    try:
        yield
    except (RuntimeError, AttributeError) as error:
        if not _was_cut(error):
            raise
        raise RedisCut("The connection was cut.") from error


def _was_cut(error: RuntimeError | AttributeError) -> bool:
    """Return whether *error* means a connection lost since redis-py looked at it.

    uvloop refuses to touch a transport that was cut. redis-py has no writer any
    more where another command closed the connection.
    """
    if isinstance(error, AttributeError):
        return error.obj is None and error.name == "writelines"
    return str(error).endswith("the handler is closed")


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
