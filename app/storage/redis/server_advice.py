"""Advice to the operator about a Redis, read from its INFO."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from redis.asyncio.cluster import RedisCluster
from redis.exceptions import RedisError

from app.errors import CacheUnavailable
from app.storage.redis.client.clients import ClusterClient
from app.storage.redis.client.rights import RightMissing

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from app.storage.redis.client.connection import RedisConnection

OLDEST_VERSION = (7, 0)
RIGHT_POLICY = "noeviction"


async def advice_on(connection: RedisConnection) -> tuple[str, ...]:
    """Return one sentence for each thing that should be another.

    Raises `CacheUnavailable` where Redis does not answer.
    """
    try:
        servers = await _servers(connection)
    except CacheUnavailable as error:
        if isinstance(error.__cause__, RightMissing):
            return ("INFO is not permitted: version and maxmemory-policy are unseen.",)
        raise
    return tuple(dict.fromkeys(one for server in servers for one in _advice(server)))


async def _servers(connection: RedisConnection) -> Iterable[Mapping[str, Any]]:
    client = connection.client
    if not isinstance(client, ClusterClient):
        return [await connection.execute("INFO")]
    try:
        info = await client.execute_command("INFO", target_nodes=RedisCluster.PRIMARIES)
    except RedisError as error:
        raise CacheUnavailable("The cache is unavailable.") from error
    return info.values() if all(isinstance(v, dict) for v in info.values()) else [info]


def _advice(server: Mapping[str, Any]) -> Iterable[str]:
    policy = server.get("maxmemory_policy")
    if policy is not None and policy != RIGHT_POLICY:
        yield (
            f"maxmemory-policy is {policy}: Redis may evict leases, counts and lent "
            f"pictures. Set it to {RIGHT_POLICY}."
        )
    version = str(server.get("redis_version", ""))
    if version and _numbers(version) < OLDEST_VERSION:
        yield f"Redis {version} is older than 7.0, which the scripts need."


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".")[:2] if part.isdigit())
