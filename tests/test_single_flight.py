"""Concurrent callers with the same key share one call."""

from __future__ import annotations

import asyncio

import pytest

from app.errors import StorageUnavailable
from app.single_flight import SingleFlight
from tests.fakes import Gate


class Calls:
    """A call that waits at a gate, counts, and ends as the test sets it."""

    def __init__(self, error: Exception | None = None) -> None:
        self.shared: SingleFlight[str, int] = SingleFlight()
        self.gates: list[Gate] = []
        self._error = error

    async def ask(self, key: str = "lighthouse") -> int:
        """Call for *key*, shared with concurrent callers."""
        return await self.shared.share(key, self._call)

    async def _call(self) -> int:
        gate = Gate()
        self.gates.append(gate)
        number = len(self.gates)
        await gate.passed()
        if self._error is not None:
            raise self._error
        return number

    async def callers(self, count: int) -> list[asyncio.Task[int]]:
        """Start *count* callers; return when they all wait."""
        tasks = [asyncio.create_task(self.ask()) for _ in range(count)]
        await asyncio.sleep(0)
        await self.gates[0].reached()
        return tasks


async def test_all_who_ask_meanwhile_get_one_result() -> None:
    """Ten concurrent callers share one call; a later caller makes another."""
    calls = Calls()
    asking = await calls.callers(10)
    calls.gates[0].open()
    assert await asyncio.gather(*asking) == [1] * 10

    again = asyncio.create_task(calls.ask())
    await asyncio.sleep(0)
    calls.gates[1].open()
    assert await again == 2


async def test_other_keys_are_other_calls() -> None:
    """Callers with different keys get different results."""
    calls = Calls()
    lighthouse, gull = (asyncio.create_task(calls.ask(key)) for key in ("a", "b"))
    await asyncio.sleep(0)
    for gate in calls.gates:
        gate.open()

    assert (await lighthouse, await gull) == (1, 2)


async def test_all_who_share_a_call_share_its_error() -> None:
    """Callers of a failed call all get its error."""
    calls = Calls(StorageUnavailable("It is unavailable, says the test."))
    asking = await calls.callers(3)
    calls.gates[0].open()

    ends = await asyncio.gather(*asking, return_exceptions=True)
    assert [type(end) for end in ends] == [StorageUnavailable] * 3
    assert len(calls.gates) == 1


async def test_a_caller_that_leaves_is_replaced() -> None:
    """If the calling one is cancelled, one of the waiters calls again."""
    calls = Calls()
    first, *others = await calls.callers(3)
    first.cancel()
    await asyncio.wait([first])
    await asyncio.sleep(0)
    await calls.gates[1].reached()
    calls.gates[1].open()

    assert first.cancelled()
    assert await asyncio.gather(*others) == [2, 2]


async def test_one_who_waits_may_leave() -> None:
    """A cancelled waiter does not affect the others."""
    calls = Calls()
    first, second, third = await calls.callers(3)
    second.cancel()
    with pytest.raises(asyncio.CancelledError):
        await second
    calls.gates[0].open()

    assert (await first, await third) == (1, 1)


async def test_late_callers_share_the_next_call() -> None:
    """Late callers do not get a call that began before them; they share the next."""
    calls = Calls()
    first = asyncio.create_task(calls.shared.share_next("lighthouse", calls._call))
    await asyncio.sleep(0)
    late = [
        asyncio.create_task(calls.shared.share_next("lighthouse", calls._call))
        for _ in range(3)
    ]
    await asyncio.sleep(0)
    assert len(calls.gates) == 1
    calls.gates[0].open()
    assert await first == 1
    await asyncio.sleep(0)
    calls.gates[1].open()

    assert await asyncio.gather(*late) == [2, 2, 2]
    assert len(calls.gates) == 2


async def test_late_callers_share_an_error() -> None:
    """Late callers get the error of the running call."""
    calls = Calls(StorageUnavailable("It is unavailable, says the test."))
    asking = [
        asyncio.create_task(calls.shared.share_next("lighthouse", calls._call))
        for _ in range(3)
    ]
    await asyncio.sleep(0)
    calls.gates[0].open()

    ends = await asyncio.gather(*asking, return_exceptions=True)
    assert [type(end) for end in ends] == [StorageUnavailable] * 3
    assert len(calls.gates) == 1


async def test_late_callers_call_after_a_cancelled_one() -> None:
    """Late callers call again after the running call was cancelled."""
    calls = Calls()
    first, late = (
        asyncio.create_task(calls.shared.share_next("lighthouse", calls._call))
        for _ in range(2)
    )
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.wait([first])
    await asyncio.sleep(0)
    calls.gates[1].open()

    assert await late == 2
