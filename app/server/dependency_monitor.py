"""Whether Redis and the object store answer, asked about once a second.

Readiness reads what was found last, so that asking it costs nothing and a
frozen dependency can't freeze it.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from time import perf_counter
from typing import TYPE_CHECKING, NotRequired, Self, TypedDict

from aiohttp import web

from app.errors import root_of
from app.storage.fence import Fence
from app.storage.ledger_identity import WrongLedger

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from app.telemetry import Metrics

logger = logging.getLogger(__name__)


class Finding(TypedDict):
    """The last look at one dependency; *seconds* is the last ping's length.

    *reason* is there where the dependency answers and is the wrong one.
    """

    ok: bool
    seconds: float | None
    reason: NotRequired[str]


@dataclass(slots=True)
class _Dependency:
    name: str
    ping: Callable[[], Awaitable[None]]
    # None before its first ping.
    ok: bool | None = None
    has_answered: bool = False
    seconds: float | None = None
    reason: str | None = None
    # The class of what the last ping failed with at bottom; "" once it answers.
    cause: str = ""

    def finding(self) -> Finding:
        """Return the last finding."""
        found: Finding = {"ok": self.ok is True, "seconds": self.seconds}
        if self.reason is not None:
            found["reason"] = self.reason
        return found


class DependencyMonitor:
    """Pings each dependency in a task of its own while the context is open.

    A ping returns when the dependency answers, and raises otherwise.
    """

    def __init__(
        self,
        pings: Mapping[str, Callable[[], Awaitable[None]]],
        *,
        metrics: Metrics,
        interval_seconds: float = 1.0,
        timeout_seconds: float = 1.0,
    ) -> None:
        self._all = [_Dependency(name, ping) for name, ping in pings.items()]
        self._metrics = metrics
        self._interval_seconds = interval_seconds
        self._timeout_seconds = timeout_seconds
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        self._tasks = [
            asyncio.create_task(self._watch(one), name=f"watch-{one.name}")
            for one in self._all
        ]
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def have_answered(self) -> bool:
        """Whether each has answered at least once."""
        return all(one.has_answered for one in self._all)

    @property
    def are_up(self) -> bool:
        """Whether each answered when it was asked last."""
        return all(one.ok for one in self._all)

    @property
    def are_right(self) -> bool:
        """Whether none was found to be another one than before."""
        return all(one.reason is None for one in self._all)

    def findings(self) -> dict[str, Finding]:
        """Return the last finding of each, by name."""
        return {one.name: one.finding() for one in self._all}

    async def _watch(self, one: _Dependency) -> None:
        while True:
            # A stall of our own event loop makes one ping late; two in a row
            # are the dependency's fault.
            up = await self._answers(one) or await self._answers(one)
            if up != one.ok:
                self._note(one, up=up)
            await asyncio.sleep(self._interval_seconds)

    async def _answers(self, one: _Dependency) -> bool:
        began = perf_counter()
        try:
            async with asyncio.timeout(self._timeout_seconds):
                await one.ping()
        except Exception as error:  # noqa: BLE001 - whatever a client raises, it is no answer
            if isinstance(error, WrongLedger):
                one.reason = error.reason
            one.cause = type(root_of(error)).__qualname__
            return False
        finally:
            one.seconds = round(perf_counter() - began, 6)
        one.reason, one.cause = None, ""
        return True

    def _note(self, one: _Dependency, *, up: bool) -> None:
        if up:
            logger.info("dependency answers", extra={"dependency": one.name})
        else:
            logger.warning(
                "dependency is unavailable",
                extra={"dependency": one.name, "cause": one.cause},
            )
        one.ok = up
        one.has_answered = one.has_answered or up
        self._metrics.dependency_up(one.name, up)


DEPENDENCY_MONITOR = web.AppKey("dependencies", DependencyMonitor)
FENCE = web.AppKey("fence", Fence)
