"""Concurrent commands share a round trip: written together, answered in order.

What is asked for in one iteration of the loop leaves in one write at its end, so
an idle caller does not wait; Redis answers a connection in order (`wire`).

No command is ever sent twice. One that was sent and not answered has an
unknown fate, and its caller decides.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Any

from hiredis import pack_command
from redis.exceptions import ConnectionError as RedisCut
from redis.exceptions import TimeoutError as RedisTimedOut

from app.storage.redis.client import private_parts
from app.storage.redis.client.clients import FAILURES
from app.storage.redis.client.wire import Answer, Wire, fail

if TYPE_CHECKING:
    from collections.abc import Sequence

    from redis.asyncio import ConnectionPool

# Some tenths of a second of work for Redis.
MAX_WAITING = 10_000

# A timer that fires this late says that our own loop stood still. Then the
# answers may lie unread in the socket, and there is time to read them.
_STALL_SECONDS = 0.1
_GRACE_SECONDS = 0.25


class CommandPipeline:
    """Commands to one server, over connections that *pool* knows how to make.

    Each has *timeout_seconds* from being asked for to being answered.
    """

    def __init__(self, pool: ConnectionPool, *, timeout_seconds: float) -> None:
        self._pool = pool
        self._timeout_seconds = timeout_seconds
        # Once: to ask for the running one is a call of the kernel each time.
        self._loop = asyncio.get_running_loop()
        self._wire: Wire | None = None
        self._connecting: asyncio.Task[None] | None = None
        self._unsent: list[tuple[Answer, bytes]] = []
        # In the order in which their time runs out; some have their answer.
        self._due: deque[tuple[float, Answer]] = deque()
        self._timer: asyncio.TimerHandle | None = None

    @property
    def is_connected(self) -> bool:
        """Whether the server is the one that answered last."""
        return self._wire is not None and self._wire.is_open

    @property
    def is_full(self) -> bool:
        """Whether so many wait that one more is better refused at once."""
        return len(self._due) >= MAX_WAITING

    def execute(self, command: Sequence[Any]) -> Answer:
        """Send *command* with all that are asked for now; return its answer to be.

        That raises redis-py's errors: what Redis refused, `TimeoutError`, or
        `ConnectionError` where the connection can't be made or was cut.
        """
        loop, waiting = self._loop, self._due
        while waiting and waiting[0][1].done():
            waiting.popleft()
        answer: Answer = loop.create_future()
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
            with private_parts.errors_of_redis():
                self._wire = await Wire.to_a_server(self._pool)
                self._send_over(self._wire)
        except FAILURES as error:
            self._fail_unsent(error)
        finally:
            self._connecting = None

    def _send_over(self, wire: Wire) -> None:
        unsent, self._unsent = self._unsent, []
        # A command without a waiting caller is not sent at all.
        wire.send([pair for pair in unsent if not pair[0].done()])

    def _fail_unsent(self, cause: Exception) -> None:
        unsent, self._unsent = self._unsent, []
        for answer, _ in unsent:
            # Each its own: a traceback grows on an error that is raised twice.
            fail(answer, RedisCut("There is no connection."), cause)

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
                fail(answer, RedisTimedOut("Redis did not answer in time."))
        if due:
            self._look_again_at(due[0][0])

    def _look_again_at(self, moment: float) -> None:
        self._timer = self._loop.call_at(moment, self._look_at_time, moment)
