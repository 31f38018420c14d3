"""One kind of traffic to Redis, and how an outage is noticed.

Every wait is bounded, and every failure is one `CacheUnavailable`; only `CacheFull`
is its own error.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Coroutine, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from redis.asyncio import Redis
from redis.exceptions import NoScriptError, RedisError
from redis.exceptions import TimeoutError as RedisTimedOut

from app.errors import CacheUnavailable
from app.storage.redis.client.clients import (
    FAILURES,
    SLACK_SECONDS,
    Client,
    ClusterClient,
)
from app.storage.redis.client.failures import RedisAway, meaning_of
from app.storage.redis.client.rights import RightMissing, right_missing

if TYPE_CHECKING:
    from app.storage.redis.client.circuit_breaker import RedisBreaker
    from app.storage.redis.client.pipeline import CommandPipeline
    from app.storage.redis.client.script import Script

logger = logging.getLogger(__name__)

MAX_WAITING_SECONDS = 0.5


class RedisConnection:
    """One kind of traffic to Redis, bounded in number and time.

    With *pipeline* commands share them; without, each takes a connection of
    the pool. At most *at_once* are under way, the others stand in line for up
    to *waits_seconds*; a pipeline needs no bound. With *repeats_silence* a command
    whose answer did not come in time is sent once more, as one whose connection
    was cut is.
    """

    def __init__(
        self,
        client: Client,
        *,
        breaker: RedisBreaker | None,
        at_once: int | None,
        timeout_seconds: float,
        waits_seconds: float = MAX_WAITING_SECONDS,
        pipeline: CommandPipeline | None = None,
        repeats_silence: bool = False,
    ) -> None:
        self.client = client
        # Once: to a class that is a protocol, `isinstance` takes microseconds.
        self._cluster = client if isinstance(client, ClusterClient) else None
        self._pipeline = pipeline
        self._breaker = breaker
        self._needs_no_slot = at_once is None
        self._slots = asyncio.Semaphore(at_once or 1)
        self._waits_seconds = waits_seconds
        self._timeout_seconds = timeout_seconds
        self._repeats_silence = repeats_silence

    def run(
        self,
        script: Script,
        keys: Sequence[str],
        args: Sequence[str | bytes | int | float] = (),
        *,
        retry: bool = True,
    ) -> Coroutine[Any, Any, Any]:
        """Run *script*; *retry* says that running it twice does no harm.

        Raises `CacheUnavailable` or `CacheFull`.
        """
        command = ("EVALSHA", script.sha, len(keys), *keys, *args)
        return self._send(command, keys[0], retry=retry, script=script)

    def execute(self, *command: Any, retry: bool = True) -> Coroutine[Any, Any, Any]:
        """Send one command, whose first argument is its key, if it has any.

        *retry* says that sending it twice does no harm. Raises like `run`.
        """
        key = str(command[1]) if len(command) > 1 else ""
        return self._send(command, key, retry=retry)

    async def _send(
        self,
        command: Sequence[Any],
        key: str,
        *,
        retry: bool,
        script: Script | None = None,
    ) -> Any:
        breaker, losses, refused = self._breaker, 0, script
        while True:
            if breaker is not None:
                losses = breaker.losses
                breaker.check(self.part(key))
            try:
                reply = await self._ask(command, key)
            except NoScriptError:
                if script is None:
                    raise
                # A Redis that has started anew knows no digest.
                command = ("EVAL", script.source, *command[2:])
                script = None
            except (RedisAway, RedisError, OSError) as error:
                missing = right_missing(error, command, refused)
                if missing is not None:
                    raise _refused(missing, error) from missing
                away = meaning_of(error)
                if breaker is not None:
                    breaker.lost(
                        self.part(key),
                        key,
                        asked_at=losses,
                        was_silent=away.was_silent,
                    )
                # Others of its connections may lead nowhere, too: to a primary
                # that was demoted, or that hung and is replaced by now.
                await self._forget_connections()
                if not (retry and (away.is_worth_a_retry or self._repeats_silence)):
                    raise CacheUnavailable("The cache is unavailable.") from away
                retry = False
            else:
                if breaker is not None and breaker.has_losses:
                    breaker.answered(self.part(key))
                return reply

    def _ask(self, command: Sequence[Any], key: str) -> Awaitable[Any]:
        if self._pipeline is not None and self._pipeline.is_full:
            raise CacheUnavailable("The cache is overloaded.")
        if self._pipeline is not None and self._needs_no_slot:
            return self._pipeline.execute(command)
        return self._in_turn(command, key)

    async def _in_turn(self, command: Sequence[Any], key: str) -> Any:
        await self._take_slot(key)
        try:
            if self._pipeline is not None:
                return await self._pipeline.execute(command)
            return await self._over_the_pool(command)
        finally:
            self._slots.release()

    @property
    def is_connected(self) -> bool:
        """Whether the server is the one that answered last, as far as is known."""
        return self._pipeline is None or self._pipeline.is_connected

    def part(self, key: str) -> str:
        """Return the name of the Cluster's node that has *key*; else an empty one."""
        return "" if self._cluster is None else self._cluster.owner(key)

    async def _over_the_pool(self, command: Sequence[Any]) -> Any:
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        started = loop.time()
        cancelled_before = task.cancelling() if task else 0
        try:
            async with asyncio.timeout(self._timeout_seconds + SLACK_SECONDS):
                reply = await self.client.execute_command(*command)
        except (TimeoutError, RedisTimedOut) as error:
            late = loop.time() - started - self._timeout_seconds
            # Our own loop stalled: the reply may lie unread in the socket.
            raise RedisAway(
                error,
                is_worth_a_retry=late > self._timeout_seconds / 4,
                was_silent=True,
            ) from error
        if task and task.cancelling() > cancelled_before:
            # redis-py sends under `asyncio.wait_for`, which can lose a
            # cancellation before Python 3.12 (python/cpython#86296).
            raise asyncio.CancelledError
        return reply

    async def _take_slot(self, key: str) -> None:
        """Take a slot; raises `CacheUnavailable` if none is free in time."""
        if self._slots.locked():
            try:
                async with asyncio.timeout(self._waits_seconds):
                    await self._slots.acquire()
            except TimeoutError:
                raise CacheUnavailable("The cache is overloaded.") from None
        else:
            # It does not wait, and needs no timer.
            await self._slots.acquire()
        try:
            if self._breaker is not None:
                # Redis may have failed while this command waited for its slot.
                self._breaker.check(self.part(key))
        except CacheUnavailable:
            self._slots.release()
            raise

    async def _forget_connections(self) -> None:
        if self._pipeline is not None:
            self._pipeline.retire()
        # A Cluster's client does so by itself, node by node.
        if isinstance(self.client, Redis):
            with suppress(*FAILURES):
                await self.client.connection_pool.disconnect(inuse_connections=False)


def _refused(missing: RightMissing, error: Exception) -> CacheUnavailable:
    """Log what Redis refuses; return what the caller gets."""
    missing.__cause__ = error
    logger.error("redis refuses a command", extra={"command": str(missing)})
    return CacheUnavailable("The cache refuses a command of the service.")
