"""`REDIS_URL` to a client: one server, Sentinel or Cluster.

redis-py's defaults differ by constructor (10 retries of 5 s, or none), and
its maintenance notifications switch the unread-reply guard of the pool off,
so everything is said here: retries are ours to decide, command by command.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import unquote, urlsplit

from redis.asyncio import Redis
from redis.asyncio.cluster import ClusterNode, RedisCluster
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel
from redis.backoff import NoBackoff
from redis.maint_notifications import MaintNotificationsConfig

DEFAULT_PORT = 6379
DEFAULT_SENTINEL_PORT = 26_379


def connect(
    url: str,
    *,
    name: str,
    timeout_seconds: float,
    max_connections: int,
    read_size: int = 65_536,
) -> Redis | RedisCluster:
    """Return a client for *url*; it connects when it is first used.

    `redis://`, `rediss://` and `unix://` as redis-py reads them,
    `redis+sentinel://[user:password@]host:port,host:port/service/db` and
    `redis+cluster://[user:password@]host:port,host:port`. Raises `ValueError`
    where the address is none of these.
    """
    options: dict[str, Any] = {
        "client_name": f"paintonce-{name}",
        "decode_responses": False,
        "max_connections": max_connections,
        "protocol": 2,
        "retry": Retry(NoBackoff(), 0),
        "socket_connect_timeout": min(timeout_seconds, 1.0),
        "socket_keepalive": True,
        "socket_timeout": timeout_seconds,
    }
    scheme = urlsplit(url).scheme
    if scheme == "redis+cluster":
        return _cluster(url, options)
    options |= {
        "health_check_interval": 30,
        "maint_notifications_config": MaintNotificationsConfig(enabled=False),
        "socket_read_size": read_size,
    }
    if scheme == "redis+sentinel":
        return _sentinel(url, options)
    if scheme == "unix":
        del options["socket_keepalive"]
    return Redis.from_url(url, **options)


def _hosts(url: str, default_port: int) -> list[tuple[str, int]]:
    hosts = []
    for part in urlsplit(url).netloc.rpartition("@")[2].split(","):
        address = urlsplit(f"//{part}")
        if not address.hostname:
            raise ValueError("an address of REDIS_URL has no host")
        hosts.append((address.hostname, address.port or default_port))
    return hosts


def _credentials(url: str) -> dict[str, Any]:
    userinfo = urlsplit(url).netloc.rpartition("@")[0]
    user, _, password = userinfo.partition(":")
    named = {"username": unquote(user), "password": unquote(password)}
    return {key: value for key, value in named.items() if value}


def _cluster(url: str, options: dict[str, Any]) -> RedisCluster:
    nodes = [ClusterNode(host, port) for host, port in _hosts(url, DEFAULT_PORT)]
    return RedisCluster(startup_nodes=nodes, **_credentials(url), **options)


def _sentinel(url: str, options: dict[str, Any]) -> Redis:
    service, _, database = urlsplit(url).path.strip("/").partition("/")
    if not service:
        raise ValueError("redis+sentinel:// needs a service name after the hosts")
    watchers = {
        key: options[key] for key in ("socket_connect_timeout", "socket_timeout")
    }
    sentinel = Sentinel(  # type: ignore[no-untyped-call]
        _hosts(url, DEFAULT_SENTINEL_PORT), sentinel_kwargs=watchers
    )
    client: Redis = sentinel.master_for(
        service, db=int(database or 0), **_credentials(url), **options
    )
    return client
