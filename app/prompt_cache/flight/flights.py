"""Single flight: however many ask for a prompt, one of them is served by work.

Within a replica all who ask join one `Flight`, a task that the service owns.
Across replicas the flights of one prompt compete for its lease: one leads,
the others follow until news or a poll tells them to look again. Only a flight
that leads outlives its waiters; one that follows ends with the last of them,
and never takes over for nobody.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, TypeVar
from uuid import uuid4

from app.background import ended
from app.errors import CacheUnavailable, ServiceError, ShuttingDown, StillGenerating
from app.prompt_cache.flight.leases import Lease
from app.prompt_cache.flight.remembered_failures import from_note
from app.storage.ports.prompt_index import FailedBefore, Following, Leading, Painted

if TYPE_CHECKING:
    from datetime import timedelta

    from app.storage.ports.prompt_index import CompletionEvents, PromptIndex

logger = logging.getLogger(__name__)

T = TypeVar("T")

# Whoever won't wait waits this long for the generation's id: Redis and the
# ledger have answered by then, or are away.
ROLE_KNOWN_WITHIN_SECONDS = 2.0

Acquire = Callable[[str], Awaitable[object]]
"""Asks for the lease under a token: a verdict of `PromptIndex.acquire`."""

# What a follower waits at most before it looks again, where the news is lost.
POLL_SECONDS = (0.2, 0.5)

# Whoever writes about a prompt without painting it holds the lease under a
# token that names no generation.
WRITER = "w-"


@dataclass(eq=False)
class Flight(Generic[T]):
    """Everyone on this replica who waits for one prompt.

    *generation_id* is the lease's token as well: made before the first
    attempt, so that an `ACQUIRE` whose reply was lost can be repeated.
    """

    prompt_hash: str
    generation_id: str = field(default_factory=lambda: str(uuid4()))
    leader_id: str | None = None
    waiters: int = 0
    task: asyncio.Task[None] | None = None
    landed: asyncio.Future[T | None] = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )
    role_known: asyncio.Event = field(default_factory=asyncio.Event)

    def lead(self) -> None:
        """Note that the flight leads."""
        self.leader_id = self.generation_id

    def announce(self) -> None:
        """Tell those who won't wait the generation's id: it can be asked about."""
        self.role_known.set()

    def follow(self, holder: str) -> None:
        """Note whom the flight follows."""
        self.leader_id = None if holder.startswith(WRITER) else holder
        self.role_known.set()


Lead = Callable[[Flight[T], Lease], Awaitable[T]]
"""A leader's work, under the lease."""


class Flights(Generic[T]):
    """The flights of this replica.

    A flight lands with what *lead* returned, or with None where the prompt
    turned out to be painted: its waiters look again.
    """

    def __init__(
        self, *, index: PromptIndex, completions: CompletionEvents, lease_for: timedelta
    ) -> None:
        self._index = index
        self._completions = completions
        self._lease_for = lease_for
        self._flights: dict[str, Flight[T]] = {}
        self._is_closing = False

    @property
    def in_flight(self) -> int:
        """How many prompts are led or followed right now."""
        return len(self._flights)

    async def join(
        self,
        prompt_hash: str,
        lead: Lead[T],
        acquire: Acquire,
        *,
        wait_seconds: float,
    ) -> tuple[Flight[T], T | None]:
        """Wait for the flight of a prompt, starting one if there is none.

        *acquire* asks for the lease under the token that it is given, and may
        run again and again; *lead* runs once, under the lease, and outlives
        its caller. Raises what *lead* raised, a failure that is remembered, or
        `StillGenerating` with the generation's id when the time is up.
        """
        if self._is_closing:
            raise ShuttingDown("This replica is shutting down.")
        flight = self._flights.get(prompt_hash)
        if flight is None:
            flight = Flight[T](prompt_hash)
            self._flights[prompt_hash] = flight
            flight.task = asyncio.create_task(
                self._fly(flight, lead, acquire),
                name=f"flight {prompt_hash[:12]}",
            )
        flight.waiters += 1
        try:
            return flight, await self._wait(flight, wait_seconds)
        finally:
            flight.waiters -= 1

    async def _wait(self, flight: Flight[T], wait_seconds: float) -> T | None:
        # `wait` leaves the flight alone when its waiter is cancelled.
        await asyncio.wait((flight.landed,), timeout=wait_seconds)
        if not flight.landed.done() and not flight.role_known.is_set():
            # Whoever won't wait is still told which generation to ask for.
            role = asyncio.ensure_future(flight.role_known.wait())
            try:
                either: list[asyncio.Future[Any]] = [flight.landed, role]
                await asyncio.wait(
                    either,
                    timeout=ROLE_KNOWN_WITHIN_SECONDS,
                    return_when=asyncio.FIRST_COMPLETED,
                )
            finally:
                role.cancel()
        if flight.landed.done():
            return flight.landed.result()
        raise StillGenerating(
            "The picture is still being painted.", generation_id=flight.leader_id
        )

    async def _fly(
        self,
        flight: Flight[T],
        lead: Lead[T],
        acquire: Acquire,
    ) -> None:
        lease = Lease(
            self._index, flight.prompt_hash, flight.generation_id, self._lease_for
        )
        result: T | None = None
        error: BaseException | None = None
        try:
            result = await self._lead_or_follow(flight, lease, lead, acquire)
        except asyncio.CancelledError:
            error = ShuttingDown("This replica is shutting down.")
            # The reply to an `acquire` may have been on its way.
            await asyncio.shield(lease.release())
        except ServiceError as failure:
            error = failure
        except Exception as failure:
            logger.exception(
                "flight crashed", extra={"prompt_hash": flight.prompt_hash}
            )
            error = failure
        finally:
            # Also where the release was cancelled once more: nobody may wait on.
            self._land(flight, result, error)
        if isinstance(error, CacheUnavailable):
            # 1. An `acquire` gets through. 2. Its reply is lost. 3. Whoever asks
            # next would follow a leader that does not know it is one.
            await lease.release()

    def _land(
        self, flight: Flight[T], result: T | None, error: BaseException | None
    ) -> None:
        # 1. A lands: the result is set. 2. Its waiters wake and look again.
        # 3. B asks anew and must not join A: so the key is forgotten in the
        # same step of the loop, after the result is there for all of A.
        if error is None:
            flight.landed.set_result(result)
        else:
            flight.landed.set_exception(error)
            flight.landed.exception()
        flight.role_known.set()
        if self._flights.get(flight.prompt_hash) is flight:
            del self._flights[flight.prompt_hash]

    async def _lead_or_follow(
        self,
        flight: Flight[T],
        lease: Lease,
        lead: Lead[T],
        acquire: Acquire,
    ) -> T | None:
        with self._completions.expect(flight.prompt_hash) as completion:
            has_followed = False
            while True:
                match await acquire(lease.token):
                    case Leading():
                        if has_followed and not flight.waiters:
                            await lease.release()
                            return None
                        return await self._lead(flight, lease, lead)
                    case Painted():
                        return None
                    case FailedBefore(note, remaining):
                        raise from_note(note, remaining)
                    case Following(holder):
                        has_followed = True
                        flight.follow(holder)
                        await completion.wait(random.uniform(*POLL_SECONDS))  # noqa: S311 - jitter
                        if not flight.waiters:
                            return None

    async def _lead(
        self,
        flight: Flight[T],
        lease: Lease,
        lead: Lead[T],
    ) -> T:
        flight.lead()
        try:
            return await lead(flight, lease)
        finally:
            # A no-op where the commit has released it; otherwise the followers
            # of a flight that failed or was cancelled need not wait it out.
            await asyncio.shield(lease.release())

    async def drain(self) -> None:
        """Return when every flight has landed."""
        while tasks := self._tasks():
            await asyncio.wait(tasks)

    async def give_up(self) -> None:
        """End every flight: leases are released, waiters get `ShuttingDown`."""
        self._is_closing = True
        # A task that is cancelled before its first step never runs at all, and
        # would leave its waiters waiting: let every flight take off.
        await asyncio.sleep(0)
        await asyncio.gather(*map(ended, self._tasks()))

    def _tasks(self) -> list[asyncio.Task[None]]:
        return [flight.task for flight in self._flights.values() if flight.task]
