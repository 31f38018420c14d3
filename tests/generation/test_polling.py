"""Polls of a job: tolerated answers, final ones, and the last poll at the deadline."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import pytest

from app.errors import (
    BadImage,
    CallEnd,
    GenerationError,
    GenerationTimedOut,
    ProviderFailed,
)
from app.generation.transport import polling
from app.generation.transport.polling import follow
from app.generation.transport.vendor_api import Reply

DONE = Reply(200, {}, {"status": "done"})


@dataclass
class Clock:
    """A clock that advances only by sleeping."""

    now: float = 0.0
    pauses: list[float] = field(default_factory=list)

    def time(self) -> float:
        """Return the time."""
        return self.now

    async def sleep(self, seconds: float) -> None:
        """Advance the clock by *seconds*."""
        self.pauses.append(seconds)
        self.now += seconds


@dataclass
class Job:
    """A job whose polls answer in turn; the last answer repeats."""

    clock: Clock
    answers: list[Reply | Exception]
    polls: list[float] = field(default_factory=list)

    async def look(self) -> Reply:
        """Answer the next poll."""
        self.polls.append(self.clock.now)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Give the clock that the module uses."""
    made = Clock()
    monkeypatch.setattr("app.generation.transport.polling.asyncio.sleep", made.sleep)
    monkeypatch.setattr(polling, "_now", made.time)
    return made


async def read(reply: Reply) -> str | None:
    """Return the result of a finished job."""
    return "picture" if reply.document["status"] == "done" else None


def answer(status: int, **headers: str) -> Reply:
    """Return an unsuccessful answer."""
    return Reply(status, headers, {"detail": "no"})


async def followed(job: Job, *, seconds: float = 120.0) -> str:
    """Follow *job* to its end."""
    return await follow(job.look, read, deadline=job.clock.now + seconds)


@pytest.mark.parametrize("status", [401, 403, 404, 408, 409, 425])
async def test_row_30_one_odd_answer_does_not_end_the_wait(
    clock: Clock, status: int
) -> None:
    """M5: one odd answer to a poll does not end the wait."""
    job = Job(clock, [answer(status), answer(status), DONE])

    assert await followed(job) == "picture"


@pytest.mark.parametrize("status", [401, 403, 404, 408, 409, 425])
async def test_the_same_answer_for_five_seconds_ends_the_wait(
    clock: Clock, status: int
) -> None:
    """The same error three times in a row over five seconds ends the wait."""
    job = Job(clock, [answer(status)])

    with pytest.raises(GenerationError) as failure:
        await followed(job)

    assert failure.value.end is CallEnd.AMBIGUOUS
    assert len(job.polls) >= 3
    assert 5.0 <= job.polls[-1] - job.polls[0] < 10.0


async def test_a_row_is_broken_by_any_other_answer(clock: Clock) -> None:
    """Errors that alternate are tolerated until the deadline."""
    job = Job(clock, [answer(404), answer(503)] * 500)

    with pytest.raises(GenerationTimedOut):
        await followed(job, seconds=60)

    assert job.polls[-1] == 60


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504, 524])
async def test_an_overloaded_vendor_is_polled_to_the_deadline(
    clock: Clock, status: int
) -> None:
    """An overloaded vendor is polled until the deadline, and once more then."""
    job = Job(clock, [answer(status)])

    with pytest.raises(GenerationTimedOut):
        await followed(job, seconds=60)

    assert job.polls[-1] == 60


@pytest.mark.parametrize("status", [400, 402, 410, 422])
async def test_an_answer_that_is_final_ends_the_wait_at_once(
    clock: Clock, status: int
) -> None:
    """A final error ends the wait at once, with an ambiguous end."""
    job = Job(clock, [answer(status)])

    with pytest.raises(GenerationError) as failure:
        await followed(job)

    assert failure.value.end is CallEnd.AMBIGUOUS
    assert len(job.polls) == 1


async def test_a_hint_beyond_the_deadline_does_not_sleep_past_it(clock: Clock) -> None:
    """M5: with `Retry-After: 120` and 30 s left the last poll is at the deadline."""
    job = Job(clock, [answer(429, **{"retry-after": "120"}), DONE])

    assert await followed(job, seconds=30) == "picture"
    assert job.polls[-1] == 30


async def test_cut_connections_are_borne(clock: Clock) -> None:
    """Polls whose connections are cut are repeated."""
    cut = ProviderFailed("cut", end=CallEnd.AMBIGUOUS)

    assert await followed(Job(clock, [cut, cut, cut, cut, DONE])) == "picture"


async def test_nonsense_ends_the_wait_like_a_refusal(clock: Clock) -> None:
    """Two nonsense answers are tolerated, lasting ones are a `BadImage`."""
    page = Reply(200, {}, None)
    assert await followed(Job(clock, [page, page, DONE])) == "picture"

    with pytest.raises(BadImage):
        await followed(Job(clock, [page]))


async def test_pauses_grow_and_fit_into_the_time_left(clock: Clock) -> None:
    """Pauses grow up to four seconds and never exceed the time left."""
    job = Job(clock, [Reply(200, {}, {"status": "running"})])

    with pytest.raises(GenerationTimedOut):
        await followed(job, seconds=30)

    assert clock.pauses[:-1] == sorted(clock.pauses[:-1])
    assert clock.pauses[0] == 0.3
    assert max(clock.pauses) <= 4.0
    assert sum(clock.pauses) == pytest.approx(30)


async def test_a_poll_that_stalls_has_a_time_out_of_its_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A stalled poll ends by its own timeout, and the next one succeeds."""
    monkeypatch.setattr(polling, "TRY_SECONDS", 0.05)
    monkeypatch.setattr(polling, "FIRST_PAUSE_SECONDS", 0.001)
    polls = []

    async def look() -> Reply:
        polls.append(1)
        if len(polls) == 1:
            await asyncio.Event().wait()
        return DONE

    deadline = asyncio.get_running_loop().time() + 30
    assert await follow(look, read, deadline=deadline) == "picture"
    assert len(polls) == 2
