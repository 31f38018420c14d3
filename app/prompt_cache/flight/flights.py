"""Single flight: of all requests for a prompt, one causes work.

Within a replica all who ask join one `Flight`, a task that the service owns.
Across replicas the flights of one prompt compete for its lease: one leads,
the others follow until an event or a poll tells them to look again. Only a flight
that leads outlives its waiters, or one whose generation was promised to a caller;
one that follows ends with the last of them, and takes over for no one else.
"""

from __future__ import annotations

import asyncio
import logging
import random
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from app.background import ended
from app.errors import CacheUnavailable, ServiceError, ShuttingDown, StillGenerating
from app.prompt_cache.flight.flight import Flight
from app.prompt_cache.flight.remembered_failures import from_note
from app.storage.ports.prompt_index import FailedBefore, Following, Leading, Painted

if TYPE_CHECKING:
    from app.prompt_cache.flight.flight import Work
    from app.prompt_cache.flight.leases import Lease, Leases

logger = logging.getLogger(__name__)

T = TypeVar("T")

# A caller that does not wait still waits this long for the generation's id:
# Redis and the ledger have answered by then, or are unavailable.
ROLE_KNOWN_WITHIN_SECONDS = 2.0

# What a follower waits at most before it looks again, where the event is lost.
POLL_SECONDS = (0.2, 0.5)


class Flights(Generic[T]):
    """The flights of this replica.

    A flight lands with what its leader's work returned, or with None where the
    prompt turned out to be painted: its waiters look again.
    """

    def __init__(self, leases: Leases) -> None:
        self._leases = leases
        self._flights: dict[str, Flight[T]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._is_closing = False

    def is_flying(self, prompt_hash: str) -> bool:
        """Return whether a caller may join a flight of this prompt."""
        flight = self._flights.get(prompt_hash)
        return flight is not None and not flight.is_closed

    async def join(
        self, work: Work[T], *, wait_seconds: float, wants_id: bool = False
    ) -> tuple[Flight[T], T | None]:
        """Wait for the flight of a prompt, starting one for *work* if there is none.

        The work outlives its caller. Raises what it raised, a failure that is
        remembered, or `StillGenerating` when the time is up, with the id of the
        generation where the caller *wants_id*: one that has a record, and ends.
        Where it is the flight's own, the flight goes on without waiters.
        """
        if self._is_closing:
            raise ShuttingDown("This replica is shutting down.")
        flight = self._flights.get(work.prompt_hash)
        if flight is None or flight.is_closed:
            flight = Flight[T](work.prompt_hash)
            self._take_off(flight, work)
        flight.waiters += 1
        try:
            await _wait(flight, wait_seconds)
            if flight.landed.done():
                return flight, flight.landed.result()
            if flight.refusal is not None and not wants_id:
                raise flight.refusal
            generation_id = await _name(flight, work) if wants_id else None
            if flight.landed.done():
                return flight, flight.landed.result()
            raise StillGenerating(
                "The picture is still being painted.", generation_id=generation_id
            )
        finally:
            flight.waiters -= 1

    def take_up(self, work: Work[T], generation_id: str) -> None:
        """Start a flight that goes on with a generation whose leader is silent.

        Unless there is one for the prompt already: it does so once it leads.
        """
        if not self._is_closing and work.prompt_hash not in self._flights:
            self._take_off(Flight[T].taking_up(work.prompt_hash, generation_id), work)

    def _take_off(self, flight: Flight[T], work: Work[T]) -> None:
        self._flights[flight.prompt_hash] = flight
        task = asyncio.create_task(
            self._fly(flight, work), name=f"flight {flight.prompt_hash[:12]}"
        )
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _fly(self, flight: Flight[T], work: Work[T]) -> None:
        lease = self._leases.of_flight(flight.prompt_hash, flight.token)
        result: T | None = None
        error: Exception | None = None
        try:
            result = await self._lead_or_follow(flight, lease, work)
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
            # Also where the release was cancelled once more: no one may wait on.
            self._land(flight, result, error)
        if isinstance(error, CacheUnavailable):
            # 1. An `acquire` gets through. 2. Its reply is lost. 3. The
            # next caller would follow a leader that does not know it is one.
            await lease.release()
        async with flight.naming:
            if flight.is_promised and not flight.is_recorded:
                await work.keep_promise(flight, result, error)

    def _land(
        self, flight: Flight[T], result: T | None, error: Exception | None
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
        self, flight: Flight[T], lease: Lease, work: Work[T]
    ) -> T | None:
        with self._leases.completions.expect(flight.prompt_hash) as completion:
            has_followed = False
            while True:
                match await work.acquire(lease):
                    case Leading():
                        if has_followed and not _is_wanted(flight):
                            await lease.release()
                            return None
                        return await _lead(flight, lease, work)
                    case Painted():
                        return None
                    case FailedBefore(note, remaining):
                        raise from_note(note, remaining)
                    case Following(holder):
                        has_followed = True
                        flight.follow(holder)
                        await completion.wait(random.uniform(*POLL_SECONDS))  # noqa: S311 - jitter
                        if not _is_wanted(flight):
                            return None

    async def drain(self) -> None:
        """Return when every flight has landed."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    async def give_up(self) -> None:
        """End every flight: leases are released, waiters get `ShuttingDown`."""
        self._is_closing = True
        # A task that is cancelled before its first step never runs at all, and
        # would leave its waiters waiting: let every flight take off.
        await asyncio.sleep(0)
        await asyncio.gather(*map(ended, list(self._tasks)))


async def _wait(flight: Flight[T], wait_seconds: float) -> None:
    """Return when the flight has landed, or the time of this waiter is up."""
    # `wait` leaves the flight alone when its waiter is cancelled.
    either: list[asyncio.Future[Any]] = [flight.landed, flight.overdue]
    await asyncio.wait(
        either, timeout=wait_seconds, return_when=asyncio.FIRST_COMPLETED
    )
    if not flight.landed.done() and not flight.role_known.is_set():
        # A caller that does not wait still gets the generation to ask for.
        role = asyncio.ensure_future(flight.role_known.wait())
        try:
            await asyncio.wait(
                [*either, role],
                timeout=ROLE_KNOWN_WITHIN_SECONDS,
                return_when=asyncio.FIRST_COMPLETED,
            )
        finally:
            role.cancel()


async def _name(flight: Flight[T], work: Work[T]) -> str | None:
    """Return the id of a generation to ask for; None where the flight has landed.

    1. The record is being written, as queued. 2. The flight lands, and its end is
    written. 3. The first record arrives last. So one waits for the other.
    """
    async with flight.naming:
        return None if flight.landed.done() else await work.promise(flight)


def _is_wanted(flight: Flight[T]) -> bool:
    return flight.waiters > 0 or flight.is_promised


async def _lead(flight: Flight[T], lease: Lease, work: Work[T]) -> T:
    flight.lead()
    try:
        return await work.lead(flight, lease)
    finally:
        # A no-op where the commit has released it; otherwise the followers
        # of a flight that failed or was cancelled need not wait it out.
        await asyncio.shield(lease.release())
