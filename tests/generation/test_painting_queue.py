"""The queue of a model, which begins no call that can't end in time."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from app.errors import QueueFull, ShuttingDown
from app.generation.call_times import CallTimes
from app.generation.painting_queue import PaintingQueue

TIMEOUT = 300.0


def times_of(*seconds: float) -> CallTimes:
    """Return the times of a model after calls of these seconds."""
    times = CallTimes(TIMEOUT)
    for one in seconds:
        times.add(one)
    return times


def now() -> float:
    """Return the time of the event loop's clock."""
    return asyncio.get_running_loop().time()


def test_at_first_a_call_needs_half_of_the_time() -> None:
    """A model without calls is assumed to need half of its time."""
    assert times_of().needed == 150


def test_a_call_needs_a_tenth_more_than_nine_of_ten_took() -> None:
    """A call is assumed to need a tenth more than the ninth decile."""
    times = times_of(*range(1, 11))

    assert times.needed == pytest.approx(1.1 * 9)
    assert times.median == 6


def test_only_the_last_fifty_calls_count() -> None:
    """Only the last fifty calls count."""
    times = times_of(*[1.0] * 100, *[100.0] * 45)

    assert times.needed == pytest.approx(110)


def test_a_call_that_takes_all_the_time_can_still_begin() -> None:
    """The assumed time is at most 95 % of the timeout."""
    assert times_of(299.0).needed == pytest.approx(0.95 * TIMEOUT)


async def test_no_slot_for_a_call_that_cannot_end_in_time() -> None:
    """A call that can't end in time is refused, even if a slot is free."""
    queue = PaintingQueue(1, 10, times_of(60.0))

    with pytest.raises(QueueFull) as caught:
        await queue.acquire("late", now() + 60)
    (await queue.acquire("early", now() + 67))()

    assert caught.value.retry_after == pytest.approx(
        timedelta(seconds=6), abs=timedelta(seconds=0.5)
    )


async def test_the_entrance_refuses_a_position_that_is_too_late() -> None:
    """A request whose position would begin too late is refused at once."""
    queue = PaintingQueue(1, 100, times_of(60.0))
    deadline = now() + TIMEOUT
    await queue.acquire("painting", deadline)
    waiting = [asyncio.create_task(queue.acquire(n, deadline)) for n in range(3)]
    await asyncio.sleep(0)

    with pytest.raises(QueueFull) as caught:
        await queue.acquire("too late", deadline)

    assert caught.value.retry_after is not None
    assert timedelta(seconds=1) <= caught.value.retry_after <= timedelta(seconds=120)
    assert queue.waiting == 3
    for task in waiting:
        task.cancel()


async def test_slots_shorten_the_line() -> None:
    """With more slots a longer queue is accepted."""
    queue = PaintingQueue(4, 100, times_of(60.0))
    deadline = now() + TIMEOUT
    for number in range(4):
        await queue.acquire(number, deadline)
    waiting = [asyncio.create_task(queue.acquire(n, deadline)) for n in range(4, 16)]
    await asyncio.sleep(0)
    assert queue.waiting == 12

    with pytest.raises(QueueFull):
        await queue.acquire("too late", deadline)

    for task in waiting:
        task.cancel()


async def test_unknown_times_refuse_no_position() -> None:
    """Before the first success no position is refused."""
    queue = PaintingQueue(1, 100, times_of())
    deadline = now() + TIMEOUT
    await queue.acquire("painting", deadline)
    waiting = [asyncio.create_task(queue.acquire(n, deadline)) for n in range(50)]
    await asyncio.sleep(0)

    assert queue.waiting == 50
    # The first call took 100 s: one more begins in time, if it begins now.
    queue.learn(100.0)
    ends = await asyncio.gather(*waiting[1:], return_exceptions=True)
    assert {type(end) for end in ends} == {QueueFull}
    assert queue.waiting == 1
    waiting[0].cancel()


async def test_a_turn_that_comes_too_late_is_passed_over() -> None:
    """A request whose turn comes too late is refused, and the next one begins."""
    queue = PaintingQueue(1, 10, times_of())
    release = await queue.acquire("painting", now() + TIMEOUT)
    late = asyncio.create_task(queue.acquire("late", now() + 100))
    early = asyncio.create_task(queue.acquire("early", now() + 200))
    await asyncio.sleep(0)

    release()

    with pytest.raises(QueueFull):
        await late
    (await early)()


async def test_a_wait_ends_with_its_deadline() -> None:
    """A wait ends with `QueueFull` at its deadline."""
    queue = PaintingQueue(1, 10, CallTimes(0.02))
    await queue.acquire("painting", now() + 1)

    with pytest.raises(QueueFull):
        await queue.acquire("waiting", now() + 0.02)

    assert queue.waiting == 0


async def test_a_full_queue_says_when_a_slot_comes_free() -> None:
    """A full queue's hint is the rest of the running call's time."""
    queue = PaintingQueue(1, 0, times_of(20.0))
    await queue.acquire("painting", now() + TIMEOUT)

    with pytest.raises(QueueFull) as caught:
        await queue.acquire("another", now() + TIMEOUT)

    assert caught.value.retry_after is not None
    assert 19 < caught.value.retry_after.total_seconds() <= 20


async def test_a_replica_that_ends_begins_no_call_that_it_would_cut() -> None:
    """A draining replica begins only calls that end within its grace."""
    queue = PaintingQueue(2, 10, times_of(60.0))
    release = await queue.acquire("painting", now() + TIMEOUT)
    (await queue.acquire("free", now() + TIMEOUT))()
    second = await queue.acquire("painting, too", now() + TIMEOUT)
    waiting = asyncio.create_task(queue.acquire("waiting", now() + TIMEOUT))
    await asyncio.sleep(0)

    queue.close_at(now() + 100)

    with pytest.raises(ShuttingDown):
        await waiting
    with pytest.raises(ShuttingDown):
        await queue.acquire("late", now() + TIMEOUT)
    release()
    (await queue.acquire("in time", now() + TIMEOUT))()
    queue.close_at(now() + 60)
    with pytest.raises(ShuttingDown):
        await queue.acquire("too late", now() + TIMEOUT)
    second()


async def test_a_replica_that_ends_and_knows_no_times_paints_on() -> None:
    """A draining replica without known times still begins calls."""
    queue = PaintingQueue(1, 10, times_of())

    queue.close_at(now() + 8)

    (await queue.acquire("first", now() + TIMEOUT))()
