"""Wires: connections to Redis whose answers go to their commands in order.

Every answer is taken off the wire, whether its caller still waits for it or not: a
caller that has gone never moves the answers of others.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Any

from hiredis import Reader
from redis.exceptions import ConnectionError as RedisCut
from redis.exceptions import (
    InvalidResponse,
    NoScriptError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    ResponseError,
)

from app.storage.redis.client import private_parts

if TYPE_CHECKING:
    from collections.abc import Sequence

    from redis.asyncio import ConnectionPool
    from redis.asyncio.connection import AbstractConnection

Answer = asyncio.Future[Any]

# A network may forget a connection that is silent, without a word. A new one
# costs a millisecond.
TRUSTED_FOR_SECONDS = 30.0


class Wire(asyncio.Protocol):
    """One connection: what was sent over it and not answered, in order."""

    def __init__(self, connection: AbstractConnection) -> None:
        self._transport = private_parts.transport_of(connection)
        self._connection = connection
        self._transport.set_protocol(self)
        self._reader = Reader(protocolError=InvalidResponse, replyError=_error_of)
        self._sent: deque[Answer] = deque()
        self._end: asyncio.TimerHandle | None = None
        self._loop = asyncio.get_running_loop()
        self._heard_at = self._loop.time()

    @classmethod
    async def to_a_server(cls, pool: ConnectionPool) -> Wire:
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

    def send(self, batch: Sequence[tuple[Answer, bytes]]) -> None:
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
                    fail(answer, reply)
                elif not answer.done():
                    answer.set_result(reply)
        except (RedisError, IndexError):
            # Not Redis, or an answer without a command: it is unknown to which
            # commands the next answers belong.
            self._transport.abort()
        if self._end is not None and not self._sent:
            self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """Fail every command that waits: its fate is unknown."""
        if self._end is not None:
            self._end.cancel()
        while self._sent:
            fail(self._sent.popleft(), RedisCut("The connection was cut."), exc)
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


def fail(answer: Answer, error: Exception, cause: Exception | None = None) -> None:
    """Give *error* to the caller of a command, if it still waits."""
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
