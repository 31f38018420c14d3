"""PaintingQueue: bounds paintings at once and those that wait for a slot.

A call that begins too late is cut before its end, and paid for nothing. So a
request with less time left than a call needs gets no slot, and is refused at
once where its position in the queue shows that too little time would be left.
"""

from __future__ import annotations

import asyncio
import math
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING

from app.errors import QueueFull, ServiceError, ShuttingDown

if TYPE_CHECKING:
    from collections.abc import Callable

    from app.generation.call_times import CallTimes

# Without a call that has succeeded nothing better is known.
_DEFAULT_RETRY_SECONDS = 5.0
_MAX_RETRY_SECONDS = 120.0


@dataclass(eq=False, slots=True)
class _Turn:
    """A painting that waits: it has to end by *deadline*; *ticket* names it."""

    deadline: float
    ticket: object = field(default_factory=object)
    begun: asyncio.Future[None] = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )


class PaintingQueue:
    """*slots* to paint in and *length* to wait, in order of arrival.

    Deadlines are times of the event loop's clock. *times* learns from
    `learn`, and says what a call needs.
    """

    def __init__(self, slots: int, length: int, times: CallTimes) -> None:
        self._slots = slots
        self._length = length
        self._times = times
        self._closes_at = math.inf
        self._running: dict[object, float] = {}
        self._waiting: dict[object, _Turn] = {}

    @property
    def waiting(self) -> int:
        """Return how many wait."""
        return len(self._waiting)

    def position_of(self, who: object) -> int | None:
        """Return how many turns it is until *who* paints; None if not waiting."""
        for position, waiting in enumerate(self._waiting, start=1):
            if waiting is who:
                return position
        return None

    async def acquire(self, who: object, deadline: float) -> Callable[[], None]:
        """Take a slot, waiting for a turn, and return what gives it back.

        A second call of that is a no-op. Raises `QueueFull` at once where the queue is
        full or the position in it leaves too little time before *deadline*, and
        later where that turns out to be so; `ShuttingDown` where the replica ends
        before. A cancelled wait leaves nothing.
        """
        turn = _Turn(deadline)
        if len(self._running) < self._slots:
            self.check(deadline)
            self._running[turn.ticket] = _now()
        else:
            self._check_entrance(deadline)
            await self._wait(who, turn)
        return partial(self._release, turn.ticket)

    def check(self, deadline: float) -> None:
        """Raise `QueueFull` where a call that begins now can't end by *deadline*."""
        late = _now() + self._times.needed - deadline
        if late > 0:
            raise _too_late(late)
        if self._ends_before(0.0):
            raise _ending()

    def close_at(self, moment: float) -> None:
        """Begin no call that can't end by *moment*, when the replica ends.

        Without a call that has succeeded nothing is known, and all may begin.
        """
        self._closes_at = moment
        self._refuse_hopeless()

    def learn(self, seconds: float) -> None:
        """Count a successful call, and refuse those whose position is hopeless now.

        From the end, up to the first that is not.
        """
        self._times.add(seconds)
        self._refuse_hopeless()

    def _refuse_hopeless(self) -> None:
        # By the median: a cautious estimate that swings must not refuse those
        # that it has let in.
        while self._waiting:
            who = next(reversed(self._waiting))
            position, usual = len(self._waiting), self._times.median
            late = self._late_by(position, self._waiting[who].deadline, usual)
            if late > 0:
                self._refuse(who, _too_late(late))
            elif self._ends_before(self._starts_in(position, usual)):
                self._refuse(who, _ending())
            else:
                return

    def _ends_before(self, starts_in: float) -> bool:
        """Return whether the replica ends before a call that starts then has."""
        if self._times.median is None:
            return False
        return _now() + starts_in + self._times.needed > self._closes_at

    def _check_entrance(self, deadline: float) -> None:
        position = len(self._waiting) + 1
        if position > self._length:
            soonest = self._starts_in(1, self._times.median)
            raise QueueFull(
                "Too many paintings wait for this model.",
                retry_after=_retry_after(soonest or _DEFAULT_RETRY_SECONDS),
            )
        # By what a call needs rather than takes, so that who is let in has time.
        known = None if self._times.median is None else self._times.needed
        late = self._late_by(position, deadline, known)
        if late > 0:
            raise _too_late(late)
        if self._ends_before(self._starts_in(position, known)):
            raise _ending()

    def _late_by(self, position: int, deadline: float, call: float | None) -> float:
        """Return how many seconds too late the turn of *position* comes."""
        begins = _now() + self._starts_in(position, call)
        return begins + self._times.needed - deadline

    def _starts_in(self, position: int, call: float | None) -> float:
        """Return when *position* gets a slot if calls take *call*; 0 if unknown."""
        if call is None:
            return 0.0
        now = _now()
        left = sorted(max(0.0, begun + call - now) for begun in self._running.values())
        rounds, slot = divmod(position - 1, self._slots)
        return left[slot] + rounds * call

    async def _wait(self, who: object, turn: _Turn) -> None:
        self._waiting[who] = turn
        try:
            async with asyncio.timeout_at(turn.deadline):
                await turn.begun
        except BaseException as error:
            # 1. The slot is handed over. 2. In the same turn of the event loop the
            # wait is cancelled, or its time is up. 3. The slot goes on to the next.
            if turn.ticket in self._running:
                self._release(turn.ticket)
            else:
                self._waiting.pop(who, None)
            if isinstance(error, TimeoutError):
                raise _too_late(self._times.needed) from error
            raise

    def _refuse(self, who: object, why: ServiceError) -> None:
        turn = self._waiting.pop(who)
        if not turn.begun.done():
            turn.begun.set_exception(why)

    def _release(self, ticket: object) -> None:
        if self._running.pop(ticket, None) is None:
            return
        while self._waiting:
            who = next(iter(self._waiting))
            turn = self._waiting[who]
            try:
                self.check(turn.deadline)
            except (QueueFull, ShuttingDown) as too_late:
                self._refuse(who, too_late)
                continue
            del self._waiting[who]
            # A wait that was cancelled just now has not left the queue yet.
            if not turn.begun.done():
                self._running[turn.ticket] = _now()
                turn.begun.set_result(None)
                return


def _now() -> float:
    return asyncio.get_running_loop().time()


def _too_late(late: float) -> QueueFull:
    return QueueFull(
        "The paintings that wait for this model leave no time for another one.",
        retry_after=_retry_after(late),
    )


def _ending() -> ShuttingDown:
    return ShuttingDown("This replica is shutting down.")


def _retry_after(seconds: float) -> timedelta:
    return timedelta(seconds=min(max(seconds, 1.0), _MAX_RETRY_SECONDS))
