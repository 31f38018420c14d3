"""The kinds of traffic to Redis, each over clients of its own.

So large pictures never stand before a lease renewal or a look-up.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

from redis.asyncio import Redis

from app.errors import CacheUnavailable
from app.storage.redis import keys
from app.storage.redis.client.address import RedisAddress, Topology, parse_address
from app.storage.redis.client.circuit_breaker import (
    PROBE_TIMEOUT_SECONDS,
    RedisBreaker,
)
from app.storage.redis.client.clients import Client, ClusterClient, open_client
from app.storage.redis.client.connection import MAX_WAITING_SECONDS, RedisConnection
from app.storage.redis.client.failures import CacheFull
from app.storage.redis.client.handshake import ClusterHandshake, ServerHandshake
from app.storage.redis.client.pipeline import CommandPipeline
from app.storage.redis.client.server_runs import BEGIN, ServerRuns

# A frozen Redis then costs a caller 1.0 s; a loop that stalls for less than
# that under a cold herd does not read as an outage.
COMMAND_TIMEOUT_SECONDS = 1.0
BLOB_TIMEOUT_SECONDS = 5.0

# Four megabytes on their way. Transient images are public: hundreds of
# readers over a slow link stand in line, for as long as a client that reads
# nothing may hold its own answer, and not before the look-ups of others.
SLICES_AT_ONCE = 32
SLICE_TIMEOUT_SECONDS = 2.0
SLICE_WAITS_SECONDS = 10.0
# A Cluster's slots lie behind many connections, so its commands share no pipeline.
CLUSTER_COMMANDS_AT_ONCE = 64


@dataclass(frozen=True, slots=True)
class RedisConnections:
    """The kinds of traffic to one Redis.

    *commands* and *slices*, which are small parts of pictures, share round
    trips; *blobs* are whole pictures. Pictures have a breaker of their own: a
    link that is too slow for them is not an outage. The leases have none.
    """

    commands: RedisConnection
    slices: RedisConnection
    blobs: RedisConnection
    leases: RedisConnection
    subscriber: Client
    breaker: RedisBreaker
    runs: ServerRuns

    async def ping(self) -> None:
        """Return when Redis answers; raises `CacheUnavailable`.

        After a FLUSHALL the runs in which the data began are written again: replicas
        that start later know nothing of them.
        """
        await self.leases.execute("PING")
        if runs := self.runs.believed():
            with suppress(CacheUnavailable, CacheFull):
                # However many keys there are by now: none is older than this run.
                await self.leases.run(BEGIN, [keys.BEGAN], ["0", *runs])

    async def run_of(self, key: str) -> str:
        """Return the run of the server that has *key*; empty where INFO is refused.

        Raises `CacheUnavailable`.
        """
        node = self.commands.part(key)
        if not self.runs.of(node) or not self.commands.is_connected:
            # A new connection asks for it first.
            await self.commands.execute("EXISTS", key)
        return self.runs.of(node)

    async def max_memory(self) -> int | None:
        """Return how many bytes Redis may hold; None for no bound, and in a Cluster.

        Raises `CacheUnavailable`.
        """
        if isinstance(self.leases.client, ClusterClient):
            return None
        memory = await self.leases.execute("INFO", "memory")
        return memory.get("maxmemory") or None


@asynccontextmanager
async def open_redis(
    url: str, *, on_breaker: Callable[[bool], None] = lambda _: None
) -> AsyncIterator[RedisConnections]:
    """Prepare the connections to *url*; none is made before it is used.

    *on_breaker* is called with whether any part of Redis is unavailable.
    Raises `ValueError` for an address that is none.
    """
    address = parse_address(url)
    async with AsyncExitStack() as stack:
        yield await _Opening(address, stack).connections(on_breaker)


class _Opening:
    """Opens the clients of one Redis; *stack* closes them."""

    def __init__(self, address: RedisAddress, stack: AsyncExitStack) -> None:
        self._address = address
        self._stack = stack
        self._runs = ServerRuns()
        is_cluster = address.topology is Topology.CLUSTER
        self._handshake = (
            ClusterHandshake(self._runs) if is_cluster else ServerHandshake(self._runs)
        )

    async def connections(self, on_breaker: Callable[[bool], None]) -> RedisConnections:
        """Return the kinds of traffic; *on_breaker* as for `open_redis`."""
        breaker, of_pictures = await self._breakers(on_breaker)
        return RedisConnections(
            commands=await self._sharing(
                "commands", breaker=breaker, timeout_seconds=COMMAND_TIMEOUT_SECONDS
            ),
            slices=await self._sharing(
                "slices",
                breaker=of_pictures,
                timeout_seconds=SLICE_TIMEOUT_SECONDS,
                at_once=SLICES_AT_ONCE,
                waits_seconds=SLICE_WAITS_SECONDS,
            ),
            blobs=await self._pooled(
                "blobs", of_pictures, BLOB_TIMEOUT_SECONDS, read_size=262_144
            ),
            # Silence is repeated: else a lost reply would leave a lease that no
            # replica knows of.
            leases=await self._pooled(
                "leases", None, COMMAND_TIMEOUT_SECONDS, repeats_silence=True
            ),
            subscriber=await self._client(
                "completions", COMMAND_TIMEOUT_SECONDS, max_connections=4
            ),
            breaker=breaker,
            runs=self._runs,
        )

    async def _breakers(
        self, on_breaker: Callable[[bool], None]
    ) -> tuple[RedisBreaker, RedisBreaker]:
        """Return the breaker of commands and that of pictures; one client probes."""
        probe = await self._client("probe", PROBE_TIMEOUT_SECONDS, max_connections=4)

        def changed(_: bool) -> None:  # noqa: FBT001 - of one breaker or the other
            on_breaker(breaker.is_open or of_pictures.is_open)

        breaker = RedisBreaker(probe, changed)
        of_pictures = RedisBreaker(probe, changed)
        self._stack.push_async_callback(breaker.aclose)
        self._stack.push_async_callback(of_pictures.aclose)
        return breaker, of_pictures

    async def _sharing(
        self,
        name: str,
        *,
        breaker: RedisBreaker,
        timeout_seconds: float,
        at_once: int | None = None,
        waits_seconds: float = MAX_WAITING_SECONDS,
    ) -> RedisConnection:
        """Return a connection whose commands share round trips, but in a Cluster."""
        own = await self._client(
            name, timeout_seconds, max_connections=80, handshake=self._handshake
        )
        pipeline: CommandPipeline | None = None
        if isinstance(own, Redis):
            pipeline = CommandPipeline(
                own.connection_pool, timeout_seconds=timeout_seconds
            )
            self._stack.push_async_callback(pipeline.aclose)
        elif at_once is None:
            at_once = CLUSTER_COMMANDS_AT_ONCE
        return RedisConnection(
            own,
            pipeline=pipeline,
            breaker=breaker,
            at_once=at_once,
            timeout_seconds=timeout_seconds,
            waits_seconds=waits_seconds,
        )

    async def _pooled(
        self,
        name: str,
        breaker: RedisBreaker | None,
        timeout_seconds: float,
        *,
        repeats_silence: bool = False,
        **options: Any,
    ) -> RedisConnection:
        """Return a connection each of whose commands takes one of the pool."""
        own = await self._client(
            name,
            timeout_seconds,
            max_connections=40,
            handshake=self._handshake,
            **options,
        )
        return RedisConnection(
            own,
            breaker=breaker,
            at_once=32,
            timeout_seconds=timeout_seconds,
            repeats_silence=repeats_silence,
        )

    async def _client(
        self, name: str, timeout_seconds: float, **options: Any
    ) -> Client:
        return await self._stack.enter_async_context(
            open_client(
                self._address, name=name, timeout_seconds=timeout_seconds, **options
            )
        )
