"""How Redis is reached, and how its absence is noticed.

Three clients over one address, so that large pictures never stand before a
lease renewal: `commands`, `blobs`, `leases`. Every wait is bounded, and
whatever goes wrong is one `CacheUnavailable`; only `CacheFull` is told apart.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from redis.asyncio import Redis
from redis.asyncio.cluster import RedisCluster
from redis.exceptions import (
    NoScriptError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    ResponseError,
)
from redis.exceptions import TimeoutError as RedisTimedOut

from app.errors import CacheUnavailable
from app.storage.redis.address import connect

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

logger = logging.getLogger(__name__)

Client = Redis | RedisCluster

# A frozen Redis then costs a caller 1.0 s; a loop that stalls for less than
# that under a cold herd does not read as an outage.
COMMAND_TIMEOUT_SECONDS = 1.0
BLOB_TIMEOUT_SECONDS = 5.0
MAX_WAITING_SECONDS = 0.5
PROBE_EVERY_SECONDS = 0.1


class CacheFull(Exception):
    """Redis refuses writes for lack of memory; reads and deletions still work."""


@dataclass(frozen=True, slots=True)
class Script:
    """A Lua script and the digest that EVALSHA names it by."""

    source: str
    sha: str

    @classmethod
    def of(cls, source: str) -> Script:
        """Prepare *source*, whose first line is its shebang."""
        source = source.strip() + "\n"
        digest = hashlib.sha1(source.encode(), usedforsecurity=False)
        return cls(source, digest.hexdigest())


class CircuitBreaker:
    """Whether Redis answers: closed while it does.

    The first failure opens it, so that nobody else waits for a time-out; a
    probe on a connection of its own closes it.
    """

    def __init__(self, probe: Client) -> None:
        self._probe = probe
        self._probing: asyncio.Task[None] | None = None

    @property
    def is_open(self) -> bool:
        """Whether Redis is known to be away."""
        return self._probing is not None

    def check(self) -> None:
        """Raise `CacheUnavailable` at once while Redis is away."""
        if self._probing is not None:
            raise CacheUnavailable("The cache is away.")

    def trip(self) -> None:
        """Note a failure; from now on `check` raises, until a probe succeeds."""
        if self._probing is None:
            logger.warning("redis is away")
            self._probing = asyncio.create_task(self._wait(), name="redis-probe")

    async def _wait(self) -> None:
        while True:
            try:
                async with asyncio.timeout(COMMAND_TIMEOUT_SECONDS):
                    await self._probe.ping()
                    break
            except (RedisError, OSError, TimeoutError):
                await asyncio.sleep(PROBE_EVERY_SECONDS)
        self._probing = None
        logger.info("redis is back")

    async def aclose(self) -> None:
        """Stop probing."""
        if self._probing is not None:
            self._probing.cancel()
            await asyncio.wait([self._probing])


class RedisConnection:
    """One kind of traffic to Redis, bounded in number and time."""

    def __init__(
        self,
        client: Client,
        *,
        breaker: CircuitBreaker | None,
        at_once: int,
        timeout_seconds: float,
    ) -> None:
        self.client = client
        self._breaker = breaker
        self._places = asyncio.Semaphore(at_once)
        self._timeout_seconds = timeout_seconds

    async def run(
        self,
        script: Script,
        keys: Sequence[str],
        args: Sequence[str | bytes | int | float] = (),
        *,
        retry: bool = True,
    ) -> Any:
        """Run *script*; *retry* says that running it twice does no harm.

        Raises `CacheUnavailable` or `CacheFull`.
        """
        try:
            return await self.execute(
                "EVALSHA", script.sha, len(keys), *keys, *args, retry=retry
            )
        except NoScriptError:
            return await self.execute(
                "EVAL", script.source, len(keys), *keys, *args, retry=retry
            )

    async def execute(self, *command: Any, retry: bool = True) -> Any:
        """Send one command; *retry* says that sending it twice does no harm."""
        try:
            return await self._once(command)
        except RedisAway as away:
            if not (retry and away.is_worth_a_retry):
                self._trip()
                raise CacheUnavailable("The cache is away.") from away
        try:
            return await self._once(command)
        except RedisAway as away:
            self._trip()
            raise CacheUnavailable("The cache is away.") from away

    def _trip(self) -> None:
        if self._breaker is not None:
            self._breaker.trip()

    async def _once(self, command: Sequence[Any]) -> Any:
        await self._take_place()
        loop = asyncio.get_running_loop()
        started = loop.time()
        try:
            async with asyncio.timeout(self._timeout_seconds):
                return await self.client.execute_command(*command)
        except OutOfMemoryError as error:
            raise CacheFull from error
        except NoScriptError:
            raise
        except ReadOnlyError as error:
            # A demoted primary: its connections lead nowhere any more.
            await self._forget_connections()
            raise RedisAway(is_worth_a_retry=True) from error
        except (TimeoutError, RedisTimedOut) as error:
            late = loop.time() - started - self._timeout_seconds
            # Our own loop stalled: the reply may lie unread in the socket.
            raise RedisAway(
                is_worth_a_retry=late > self._timeout_seconds / 4
            ) from error
        except ResponseError as error:
            raise _translated(error) from error
        except (RedisError, OSError) as error:
            raise RedisAway(is_worth_a_retry=True) from error
        finally:
            self._places.release()

    async def _take_place(self) -> None:
        if self._breaker is not None:
            self._breaker.check()
        try:
            async with asyncio.timeout(MAX_WAITING_SECONDS):
                await self._places.acquire()
        except TimeoutError:
            raise CacheUnavailable("The cache is overloaded.") from None
        if self._breaker is not None and self._breaker.is_open:
            # Redis went away while this command stood in line.
            self._places.release()
            self._breaker.check()

    async def _forget_connections(self) -> None:
        if isinstance(self.client, Redis):
            await self.client.connection_pool.disconnect(inuse_connections=False)


class RedisAway(Exception):
    """A command got no usable answer; what it did is unknown."""

    def __init__(self, *, is_worth_a_retry: bool) -> None:
        super().__init__()
        self.is_worth_a_retry = is_worth_a_retry


def _translated(error: ResponseError) -> Exception:
    text = str(error)
    # Scripts report the refusal inside a sentence of their own.
    if "OOM" in text:
        return CacheFull()
    if any(sign in text for sign in _AWAY_SIGNS):
        return RedisAway(is_worth_a_retry=False)
    return error


_AWAY_SIGNS = (
    "LOADING",
    "READONLY",
    "MASTERDOWN",
    "CLUSTERDOWN",
    "TRYAGAIN",
    "NOREPLICAS",
    "MISCONF",
    "BUSY",
    "UNBLOCKED",
)


@dataclass(frozen=True, slots=True)
class RedisConnections:
    """The kinds of traffic, and the breaker that the first two share."""

    commands: RedisConnection
    blobs: RedisConnection
    leases: RedisConnection
    subscriber: Client
    breaker: CircuitBreaker

    async def ping(self) -> None:
        """Return when Redis answers; raises `CacheUnavailable`."""
        await self.leases.execute("PING")


@asynccontextmanager
async def open_redis(url: str) -> AsyncIterator[RedisConnections]:
    """Prepare the connections to *url*; none is made before it is used."""
    async with AsyncExitStack() as stack:

        async def client(name: str, timeout_seconds: float, **options: Any) -> Client:
            made = connect(url, name=name, timeout_seconds=timeout_seconds, **options)
            stack.push_async_callback(made.aclose)
            return made

        breaker = CircuitBreaker(
            await client("probe", COMMAND_TIMEOUT_SECONDS, max_connections=2)
        )
        stack.push_async_callback(breaker.aclose)
        yield RedisConnections(
            commands=RedisConnection(
                await client("commands", COMMAND_TIMEOUT_SECONDS, max_connections=80),
                breaker=breaker,
                at_once=64,
                timeout_seconds=COMMAND_TIMEOUT_SECONDS,
            ),
            blobs=RedisConnection(
                await client(
                    "blobs",
                    BLOB_TIMEOUT_SECONDS,
                    max_connections=40,
                    read_size=262_144,
                ),
                breaker=breaker,
                at_once=32,
                timeout_seconds=BLOB_TIMEOUT_SECONDS,
            ),
            leases=RedisConnection(
                await client("leases", COMMAND_TIMEOUT_SECONDS, max_connections=40),
                breaker=None,
                at_once=32,
                timeout_seconds=COMMAND_TIMEOUT_SECONDS,
            ),
            subscriber=await client(
                "landings", COMMAND_TIMEOUT_SECONDS, max_connections=4
            ),
            breaker=breaker,
        )
