"""Concurrent commands share a round trip: written together, answered in order.

What is asked for in one iteration of the loop leaves in one write at its end,
so an idle caller does not wait. Redis answers a connection in order, and
every answer is taken off the line whether its caller still waits for it or not:
a caller that has gone never moves the answers of others.

No command is ever sent twice. One that was sent and not answered has an
unknown fate, and its caller decides.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Any

from hiredis import Reader, pack_command
from redis.exceptions import (
    ConnectionError as RedisCut,
)
from redis.exceptions import (
    InvalidResponse,
    NoScriptError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    ResponseError,
)
from redis.exceptions import TimeoutError as RedisTimedOut

from app.storage.redis.client import private_parts

if TYPE_CHECKING:
    from collections.abc import Sequence

    from redis.asyncio import ConnectionPool
    from redis.asyncio.connection import AbstractConnection

# A network may forget a connection that is silent, without a word. A new one
# costs a millisecond.
TRUSTED_FOR_SECONDS = 30.0

# Some tenths of a second of work for Redis.
MAX_WAITING = 10_000

# A timer that fires this late says that our own loop stood still. Then the
# answers may lie unread in the socket, and there is time to read them.
_STALL_SECONDS = 0.1
_GRACE_SECONDS = 0.25

_Answer = asyncio.Future[Any]


class CommandPipeline:
    """Commands to one server, over connections that *pool* knows how to make.

    Each has *timeout_seconds* from being asked for to being answered.
    """

    def __init__(self, pool: ConnectionPool, *, timeout_seconds: float) -> None:
        self._pool = pool
        self._timeout_seconds = timeout_seconds
        # Once: to ask for the running one is a call of the kernel each time.
        self._loop = asyncio.get_running_loop()
        self._wire: _Wire | None = None
        self._connecting: asyncio.Task[None] | None = None
        self._unsent: list[tuple[_Answer, bytes]] = []
        # In the order in which their time runs out; some have their answer.
        self._due: deque[tuple[float, _Answer]] = deque()
        self._timer: asyncio.TimerHandle | None = None

    @property
    def is_connected(self) -> bool:
        """Whether the server is the one that answered last."""
        return self._wire is not None and self._wire.is_open

    @property
    def is_full(self) -> bool:
        """Whether so many wait that one more had better be told so at once."""
        return len(self._due) >= MAX_WAITING

    def execute(self, command: Sequence[Any]) -> _Answer:
        """Send *command* with all that are asked for now; return its answer to be.

        That raises redis-py's errors: what Redis refused, `TimeoutError`, or
        `ConnectionError` where the connection can't be made or was cut.
        """
        loop, waiting = self._loop, self._due
        while waiting and waiting[0][1].done():
            waiting.popleft()
        answer: _Answer = loop.create_future()
        packed = pack_command(tuple(command))
        if not self._unsent:
            loop.call_soon(self._send)
        self._unsent.append((answer, packed))
        due = loop.time() + self._timeout_seconds
        waiting.append((due, answer))
        if self._timer is None:
            self._look_again_at(due)
        return answer

    def retire(self) -> None:
        """Make a new connection for what comes; what was sent is still awaited."""
        wire, self._wire = self._wire, None
        if wire is not None:
            wire.close_when_idle(max_seconds=self._timeout_seconds)

    async def aclose(self) -> None:
        """Give the connection up; what still waits fails."""
        if self._timer is not None:
            self._timer.cancel()
        if self._connecting is not None:
            self._connecting.cancel()
            await asyncio.wait([self._connecting])
        wire, self._wire = self._wire, None
        if wire is not None:
            await wire.aclose()
        self._fail_unsent(RedisCut("The client was closed."))

    def _send(self) -> None:
        if not self._unsent or self._connecting is not None:
            return
        if self._wire is not None and self._wire.is_trusted:
            self._send_over(self._wire)
            return
        self.retire()
        self._connecting = asyncio.create_task(self._connect(), name="redis-wire")

    async def _connect(self) -> None:
        try:
            self._wire = await _Wire.to_a_server(self._pool)
            self._send_over(self._wire)
        except Exception as error:  # noqa: BLE001 - redis-py raises more than its own
            self._fail_unsent(error)
        finally:
            self._connecting = None

    def _send_over(self, wire: _Wire) -> None:
        unsent, self._unsent = self._unsent, []
        # A command without a waiting caller is not sent at all.
        wire.send([pair for pair in unsent if not pair[0].done()])

    def _fail_unsent(self, error: Exception) -> None:
        unsent, self._unsent = self._unsent, []
        for answer, _ in unsent:
            # Each its own: a traceback grows on an error that is raised twice.
            _fail(answer, RedisCut("There is no connection."), error)

    def _look_at_time(self, expected: float) -> None:
        """Fail the commands whose time is up, and look again when the next one's is."""
        now, due = self._loop.time(), self._due
        self._timer = None
        if now - expected > _STALL_SECONDS:
            self._look_again_at(now + _GRACE_SECONDS)
            return
        while due and (due[0][1].done() or due[0][0] <= now):
            _, answer = due.popleft()
            if not answer.done():
                # Whatever comes next must not stand behind what hangs.
                self.retire()
                _fail(answer, RedisTimedOut("Redis did not answer in time."))
        if due:
            self._look_again_at(due[0][0])

    def _look_again_at(self, moment: float) -> None:
        self._timer = self._loop.call_at(moment, self._look_at_time, moment)


class _Wire(asyncio.Protocol):
    """One connection: what was sent over it and not answered, in order."""

    def __init__(self, connection: AbstractConnection) -> None:
        self._transport = private_parts.transport_of(connection)
        self._connection = connection
        self._transport.set_protocol(self)
        self._reader = Reader(protocolError=InvalidResponse, replyError=_error_of)
        self._sent: deque[_Answer] = deque()
        self._end: asyncio.TimerHandle | None = None
        self._loop = asyncio.get_running_loop()
        self._heard_at = self._loop.time()

    @classmethod
    async def to_a_server(cls, pool: ConnectionPool) -> _Wire:
        """Connect as redis-py does (TLS, login, Sentinel), and take over from it."""
        connection: AbstractConnection = pool.make_connection()  # type: ignore[no-untyped-call]
        try:
            await connection.connect()  # type: ignore[no-untyped-call]
            return cls(connection)
        except BaseException:
            await connection.disconnect(nowait=True)
            raise

    @property
    def is_open(self) -> bool:
        """Whether it was not cut, as far as is known."""
        return not self._transport.is_closing()

    @property
    def is_trusted(self) -> bool:
        """Whether it is open, and either busy or known to have been so lately."""
        if self._transport.is_closing():
            return False
        silent_for = self._loop.time() - self._heard_at
        return bool(self._sent) or silent_for < TRUSTED_FOR_SECONDS

    def send(self, batch: Sequence[tuple[_Answer, bytes]]) -> None:
        """Write all of *batch* at once."""
        if not batch:
            return
        self._transport.write(b"".join([packed for _, packed in batch]))
        self._sent.extend([answer for answer, _ in batch])

    def data_received(self, data: bytes) -> None:
        """Hand the answers on, in order."""
        self._heard_at = self._loop.time()
        try:
            self._reader.feed(data)
            while (reply := self._reader.gets()) is not False:
                answer = self._sent.popleft()
                if isinstance(reply, Exception):
                    _fail(answer, reply)
                elif not answer.done():
                    answer.set_result(reply)
        except (RedisError, IndexError):
            # Not Redis, or an answer without a command: nothing that
            # follows can be told whose it is.
            self._transport.abort()
        if self._end is not None and not self._sent:
            self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """Fail every command that waits: its fate is unknown."""
        if self._end is not None:
            self._end.cancel()
        while self._sent:
            _fail(self._sent.popleft(), RedisCut("The connection was cut."), exc)
        private_parts.forget(self._connection)

    def close_when_idle(self, *, max_seconds: float) -> None:
        """Close it after the last answer, or when no caller can still wait for it."""
        if self._transport.is_closing():
            return
        self._end = self._loop.call_later(max_seconds, self._transport.abort)
        if not self._sent:
            self._transport.close()

    async def aclose(self) -> None:
        """Close it now."""
        self._transport.abort()
        await self._connection.disconnect(nowait=True)


def _fail(answer: _Answer, error: Exception, cause: Exception | None = None) -> None:
    if not answer.done():
        error.__cause__ = cause
        answer.set_exception(error)
        # Retrieved: a caller that is cancelled in this moment leaves no noise.
        answer.exception()


_REFUSALS = {
    "NOSCRIPT": NoScriptError,
    "OOM": OutOfMemoryError,
    "READONLY": ReadOnlyError,
}


def _error_of(text: str) -> ResponseError:
    """Return the error that redis-py would raise, as far as callers tell them apart."""
    return _REFUSALS.get(text.partition(" ")[0], ResponseError)(text)
