"""redis-py's clients for the three topologies, with nothing left to its defaults.

They differ by constructor (10 retries of 5 s, or none), and its maintenance
notifications switch the unread-reply guard of the pool off, so everything is
set here: retries are ours to decide, command by command.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from redis.asyncio import Redis
from redis.asyncio.cluster import ClusterNode, RedisCluster
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisClusterException, RedisError
from redis.maint_notifications import MaintNotificationsConfig

from app.storage.redis.client import private_parts
from app.storage.redis.client.address import RedisAddress, Topology
from app.storage.redis.client.handshake import ClusterHandshake, ServerHandshake

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from redis.asyncio.client import PubSub

# Two sentinels that hang still leave time for the third within a command's.
SENTINEL_TIMEOUT_SECONDS = 0.4

# What callers wait for longer than a client's own time-out, so that this one
# comes first and the client notes which node was silent.
SLACK_SECONDS = 0.2

FAILURES = private_parts.ERRORS
"""The errors of a client when Redis is unavailable."""


class ServerClient(Redis):
    """One server, or the primary that Sentinel names."""

    async def execute_command(self, *args: Any, **options: Any) -> Any:
        """Send one command, once."""
        with private_parts.errors_of_redis():
            return await super().execute_command(*args, **options)  # type: ignore[no-untyped-call]


class ClusterClient(RedisCluster):
    """A Cluster whose client looks for its slots at the nodes that still answer."""

    _failed_node: str | None = None
    _handshake: ClusterHandshake | None = None

    def begin_with(self, handshake: ClusterHandshake) -> None:
        """Perform *handshake* over each connection to a node, once it is made."""
        self._handshake = handshake
        self.get_connection_kwargs()["redis_connect_func"] = handshake.perform

    async def execute_command(self, *args: Any, **kwargs: Any) -> Any:
        """Send one command to the node of its slot; once, but for redirections."""
        with private_parts.errors_of_redis():
            return await self._execute_over_nodes(*args, **kwargs)

    async def _execute_over_nodes(self, *args: Any, **kwargs: Any) -> Any:
        try:
            # Here and not on the way: without the slots redis-py would guess.
            await self.initialize(last_failed_node_name=self._failed_node)
            if self._handshake is not None and not self._handshake.has_looked:
                await self._handshake.look_at_data(
                    self.get_primaries(), super().execute_command
                )
            return await super().execute_command(*args, **kwargs)
        except (RedisClusterException, KeyError) as error:
            # No node answers, or a slot has none: look again the next time.
            await self.aclose()
            raise RedisConnectionError(str(error)) from error
        except RedisError as error:
            failed: str | None = getattr(error, "last_failed_node_name", None)
            self._failed_node = failed or self._failed_node
            raise

    def owner(self, key: str) -> str:
        """Return the name of the node that has the slot of *key*, as far as known."""
        return private_parts.owner_of(self, key)

    async def close_all(self) -> None:
        """Close everything, also where redis-py's own `aclose` does nothing."""
        await self.aclose()
        await private_parts.close_nodes(self, FAILURES)


Client = ServerClient | ClusterClient


@asynccontextmanager
async def open_client(
    address: RedisAddress,
    *,
    name: str,
    timeout_seconds: float,
    max_connections: int,
    read_size: int = 65_536,
    handshake: ServerHandshake | ClusterHandshake | None = None,
) -> AsyncIterator[Client]:
    """Open a client, which connects when it is first used.

    *max_connections* are those to each node of a Cluster. Each connection
    begins with *handshake*.
    """
    # RESP2 has no push messages, so nothing but replies is ever read.
    protocol: dict[str, Any] = {
        "maint_notifications_config": MaintNotificationsConfig(enabled=False),
        "protocol": 2,
        "retry": Retry(NoBackoff(), 0),
        **({} if address.tls is None else {"ssl": True, **address.tls}),
    }
    options = protocol | {
        "client_name": f"paintonce-{name}",
        "max_connections": max_connections,
        "socket_connect_timeout": min(timeout_seconds, 1.0),
        "socket_keepalive": True,
        "socket_read_size": read_size,
        "socket_timeout": timeout_seconds,
        **address.credentials,
    }
    if isinstance(handshake, ServerHandshake):
        options["redis_connect_func"] = handshake.perform
    match address.topology:
        case Topology.CLUSTER:
            opened = _cluster(address, options)
        case Topology.SENTINEL:
            opened = _sentinel(address, protocol, options)
        case Topology.SERVER:
            opened = _server(address, options)
    async with opened as client:
        if isinstance(client, ClusterClient) and isinstance(
            handshake, ClusterHandshake
        ):
            client.begin_with(handshake)
        yield client


@asynccontextmanager
async def _server(
    address: RedisAddress, options: dict[str, Any]
) -> AsyncIterator[Client]:
    if address.path:
        place: dict[str, Any] = {"unix_socket_path": address.path}
    else:
        place = dict(zip(("host", "port"), address.hosts[0], strict=True))
    async with ServerClient(
        db=address.database, health_check_interval=30, **place, **options
    ) as client:
        yield client


@asynccontextmanager
async def _sentinel(
    address: RedisAddress, protocol: dict[str, Any], options: dict[str, Any]
) -> AsyncIterator[Client]:
    sentinel = Sentinel(  # type: ignore[no-untyped-call]
        address.hosts,
        sentinel_kwargs=protocol
        | {
            "socket_connect_timeout": SENTINEL_TIMEOUT_SECONDS,
            "socket_timeout": SENTINEL_TIMEOUT_SECONDS,
            **address.sentinel_credentials,
        },
    )
    async with (
        sentinel,
        sentinel.master_for(
            address.service,
            redis_class=ServerClient,
            db=address.database,
            health_check_interval=30,
            **options,
        ) as client,
    ):
        yield client


@asynccontextmanager
async def _cluster(
    address: RedisAddress, options: dict[str, Any]
) -> AsyncIterator[Client]:
    client = ClusterClient(
        startup_nodes=[ClusterNode(host, port) for host, port in address.hosts],
        # The nodes of REDIS_URL are asked for ever: names outlive addresses.
        dynamic_startup_nodes=False,
        # A slot that moved is followed; closing all connections for it would
        # cut other commands.
        reinitialize_steps=0,
        require_full_coverage=False,
        **options,
    )
    try:
        yield client
    finally:
        await client.close_all()


@asynccontextmanager
async def subscription(client: Client) -> AsyncIterator[PubSub]:
    """Open a subscription that hears what is published on any node."""
    with private_parts.errors_of_redis():
        if isinstance(client, ClusterClient):
            # Every node passes all events on; after a failure another one is tried.
            await client.close_all()
            await client.initialize()
            opened: PubSub = client.pubsub(node=client.get_random_node())
        else:
            opened = client.pubsub()
        async with opened:
            yield opened
