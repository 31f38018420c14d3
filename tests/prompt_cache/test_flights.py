"""Flights and leases: leading, following, and the end of a flight."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from app.errors import ProviderFailed, ShuttingDown, StillGenerating
from app.prompt_cache.flight.flights import Flights
from tests.fakes import Gate, leases_of
from tests.until import until

if TYPE_CHECKING:
    from app.prompt_cache.flight.flight import Flight
    from app.prompt_cache.flight.leases import Lease
    from app.storage.ports.prompt_index import Verdict
    from tests.fakes import World

LIGHTHOUSE = "11" * 32

StrFlights = Flights[str]


@pytest.fixture
def flights(world: World) -> StrFlights:
    """Give the flights of one replica."""
    return StrFlights(leases_of(world))


@pytest.fixture
def others(world: World) -> StrFlights:
    """Give the flights of another replica."""
    return StrFlights(leases_of(world))


class PaintTheLighthouse:
    """A leader's work, which counts, waits at its gate, and commits."""

    prompt_hash = LIGHTHOUSE

    def __init__(self, world: World, comes_to: str | Exception = "a picture") -> None:
        self.gate = Gate()
        self.count = 0
        self.promised: list[str] = []
        self.kept: list[tuple[str, Exception | None]] = []
        self._world = world
        self._comes_to = comes_to

    async def acquire(self, lease: Lease) -> Verdict:
        """Acquire the lease."""
        return await lease.acquire()

    async def promise(self, flight: Flight[str]) -> str:
        """Record the promised generation, unless it is the leader's."""
        if flight.leader_id is not None:
            return flight.leader_id
        flight.is_promised = True
        self.promised.append(flight.generation_id)
        return flight.generation_id

    async def keep_promise(
        self, flight: Flight[str], result: str | None, error: Exception | None
    ) -> None:
        """Record the end of the promised generation."""
        self.kept.append((flight.generation_id, error))

    async def lead(self, flight: Flight[str], lease: Lease) -> str:
        """Paint."""
        self.count += 1
        flight.announce()
        await self.gate.passed()
        if isinstance(self._comes_to, Exception):
            raise self._comes_to
        await self._world.index.commit(LIGHTHOUSE, lease.token, b"{}")
        return self._comes_to


def in_flight(flights: StrFlights) -> int:
    """Return how many prompts are led or followed."""
    return len(flights._flights)


async def join(
    flights: StrFlights, work: PaintTheLighthouse, wait_seconds: float = 30
) -> tuple[Flight[str], str | None]:
    """Join the flight of the lighthouse."""
    return await flights.join(work, wait_seconds=wait_seconds)


async def lead(
    flights: StrFlights, work: PaintTheLighthouse
) -> asyncio.Task[tuple[Flight[str], str | None]]:
    """Join in the background; return once the work waits at its gate."""
    leading = asyncio.create_task(join(flights, work))
    await work.gate.reached()
    return leading


async def follow(
    flights: StrFlights, work: PaintTheLighthouse
) -> asyncio.Task[tuple[Flight[str], str | None]]:
    """Join in the background; return once the flight knows that it follows."""
    following = asyncio.create_task(join(flights, work))
    await until(lambda: in_flight(flights) == 1)
    await until(flights._flights[LIGHTHOUSE].role_known.is_set)
    return following


async def test_all_who_join_share_one_flight(world: World, flights: StrFlights) -> None:
    """All who join a flight get the result of one run of its work."""
    work = PaintTheLighthouse(world)
    joined = [asyncio.create_task(join(flights, work)) for _ in range(20)]
    await work.gate.reached()
    assert in_flight(flights) == 1
    work.gate.open()

    landed = await asyncio.gather(*joined)

    assert {result for _, result in landed} == {"a picture"}
    assert len({flight.generation_id for flight, _ in landed}) == 1
    assert (work.count, in_flight(flights)) == (1, 0)


async def test_a_flight_that_has_landed_is_not_joined(
    world: World, flights: StrFlights
) -> None:
    """A flight whose result is set is not joined.

    The interleaving of `Flights._land`: the key is forgotten in the step of the loop
    that sets the result, before any waiter of A has woken.
    """
    work = PaintTheLighthouse(world)
    first = await lead(flights, work)
    landed = flights._flights[LIGHTHOUSE].landed
    seen: list[int] = []
    landed.add_done_callback(lambda _: seen.append(in_flight(flights)))
    work.gate.open()
    flight, result = await first
    another, nothing = await join(flights, work)

    assert seen == [0]
    assert result == "a picture"
    assert nothing is None
    assert another is not flight
    assert work.count == 1


async def test_errors_are_shared_and_the_next_flight_is_free(
    world: World, flights: StrFlights
) -> None:
    """All waiters get the error, and the lease is free."""
    work = PaintTheLighthouse(world, ProviderFailed("It broke down."))
    joined = [asyncio.create_task(join(flights, work)) for _ in range(3)]
    await work.gate.reached()
    work.gate.open()

    ended = await asyncio.gather(*joined, return_exceptions=True)

    assert [type(error) for error in ended] == [ProviderFailed] * 3
    assert world.index.holder_now(LIGHTHOUSE) is None
    assert in_flight(flights) == 0


async def test_a_crash_in_the_work_leaves_no_key_stuck(
    world: World, flights: StrFlights, caplog: pytest.LogCaptureFixture
) -> None:
    """A crash in the work is raised for its waiters and ends the flight."""
    work = PaintTheLighthouse(world, ZeroDivisionError())
    work.gate.open()

    with pytest.raises(ZeroDivisionError):
        await join(flights, work)

    assert in_flight(flights) == 0
    assert world.index.holder_now(LIGHTHOUSE) is None
    assert "flight crashed" in caplog.messages


async def test_a_flight_that_leads_outlives_its_waiters(
    world: World, flights: StrFlights
) -> None:
    """A leading flight finishes without waiters."""
    work = PaintTheLighthouse(world)
    joined = await lead(flights, work)
    joined.cancel()
    await asyncio.wait([joined])
    work.gate.open()
    await flights.drain()

    assert LIGHTHOUSE in world.index.entries


async def test_a_flight_that_follows_ends_with_its_last_waiter(
    world: World, flights: StrFlights, others: StrFlights
) -> None:
    """A following flight without waiters ends and never leads."""
    work = PaintTheLighthouse(world, ProviderFailed("It broke down."))
    taken_over = PaintTheLighthouse(world)
    leading = await lead(flights, work)
    following = await follow(others, taken_over)
    following.cancel()
    await asyncio.wait([following])
    work.gate.open()
    with pytest.raises(ProviderFailed):
        await leading
    await others.drain()

    assert taken_over.count == 0
    assert world.index.holder_now(LIGHTHOUSE) is None


async def test_a_follower_whose_last_waiter_leaves_as_it_gets_the_lease(
    world: World, flights: StrFlights, others: StrFlights
) -> None:
    """A follower that gets the lease after its last waiter left releases it."""
    work = PaintTheLighthouse(world, ProviderFailed("It broke down."))
    taken_over = PaintTheLighthouse(world)
    leading = await lead(flights, work)
    following = await follow(others, taken_over)
    granted = world.index.after("acquire")
    work.gate.open()
    with pytest.raises(ProviderFailed):
        await leading
    await granted.reached()
    assert world.index.holder_now(LIGHTHOUSE) is not None
    following.cancel()
    await asyncio.wait([following])
    granted.open()
    await others.drain()

    assert taken_over.count == 0
    assert world.index.holder_now(LIGHTHOUSE) is None


async def test_a_follower_takes_over_from_a_leader_that_gave_up(
    world: World, flights: StrFlights, others: StrFlights
) -> None:
    """A follower takes over when the leader's replica shuts down."""
    work, taken_over = PaintTheLighthouse(world), PaintTheLighthouse(world)
    leading = await lead(flights, work)
    following = await follow(others, taken_over)
    await flights.give_up()
    taken_over.gate.open()

    with pytest.raises(ShuttingDown):
        await leading
    assert (await following)[1] == "a picture"
    assert taken_over.count == 1


async def test_a_leader_that_died_is_followed_by_the_next(
    world: World, flights: StrFlights, others: StrFlights
) -> None:
    """A follower takes a dead leader's expired lease and leads under its own id."""
    work, taken_over = PaintTheLighthouse(world), PaintTheLighthouse(world)
    leading = await lead(flights, work)
    following = await follow(others, taken_over)
    flight = others._flights[LIGHTHOUSE]
    followed = flight.leader_id
    world.index.expire_lease(LIGHTHOUSE)
    await taken_over.gate.reached()

    assert followed == flights._flights[LIGHTHOUSE].generation_id
    assert flight.leader_id == flight.generation_id
    taken_over.gate.open()
    assert (await following)[1] == "a picture"
    work.gate.open()
    await leading


async def test_a_wait_is_bounded(world: World, flights: StrFlights) -> None:
    """A wait that ends gives the generation's id, and the flight goes on."""
    work = PaintTheLighthouse(world)

    with pytest.raises(StillGenerating) as still:
        await flights.join(work, wait_seconds=0.01, wants_id=True)

    (flight,) = flights._flights.values()
    assert still.value.generation_id == flight.generation_id
    work.gate.open()
    await flights.drain()


async def test_giving_up_in_the_first_step_of_a_flight(
    world: World, flights: StrFlights
) -> None:
    """A flight that has not begun when the replica gives up ends."""
    joined = asyncio.create_task(join(flights, PaintTheLighthouse(world)))
    await until(lambda: in_flight(flights) == 1)

    await flights.give_up()

    with pytest.raises(ShuttingDown):
        await joined
    assert in_flight(flights) == 0


async def test_giving_up_while_the_lease_is_asked_for(
    world: World, flights: StrFlights
) -> None:
    """A lease whose reply is on its way at the end is released."""
    granted = world.index.after("acquire")
    joined = asyncio.create_task(join(flights, PaintTheLighthouse(world)))
    await granted.reached()
    assert world.index.holder_now(LIGHTHOUSE) is not None

    await flights.give_up()

    with pytest.raises(ShuttingDown):
        await joined
    assert world.index.holder_now(LIGHTHOUSE) is None


async def test_giving_up_twice(world: World, flights: StrFlights) -> None:
    """A flight that is cancelled while it releases its lease ends."""
    granted, releasing = world.index.after("acquire"), world.index.before("release")
    joined = asyncio.create_task(join(flights, PaintTheLighthouse(world)))
    await granted.reached()
    giving_up = asyncio.create_task(flights.give_up())
    await releasing.reached()

    await flights.give_up()

    with pytest.raises(ShuttingDown):
        await joined
    assert in_flight(flights) == 0
    releasing.open()
    await giving_up


async def test_giving_up_with_nothing_in_flight(flights: StrFlights) -> None:
    """A replica without flights ends at once."""
    await flights.give_up()
    await flights.drain()

    assert in_flight(flights) == 0
