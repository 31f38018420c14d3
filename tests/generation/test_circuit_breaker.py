"""When a failing provider is left alone, and when it is tried again."""

from __future__ import annotations

from datetime import timedelta

import pytest

from app.errors import CallEnd, ProviderFailed
from app.generation.circuit_breaker import ProviderBreaker


class ManualClock:
    """A clock that stands still until it is told to go on."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> ManualClock:
    """Return the clock of the breaker."""
    return ManualClock()


@pytest.fixture
def breaker(clock: ManualClock) -> ProviderBreaker:
    """Return a closed breaker with the service's own limits."""
    return ProviderBreaker(clock=clock)


def fail(breaker: ProviderBreaker, times: int) -> None:
    """Admit calls one after the other, each of which fails."""
    for _ in range(times):
        breaker.report(breaker.admit(), healthy=False)


def test_four_failures_in_a_row_are_borne(breaker: ProviderBreaker) -> None:
    """A provider that stumbles is still asked."""
    fail(breaker, 4)

    breaker.admit()


def test_the_fifth_failure_opens_it(breaker: ProviderBreaker) -> None:
    """A provider that is down is not asked; the caller learns when to come back."""
    fail(breaker, 5)

    with pytest.raises(ProviderFailed) as caught:
        breaker.admit()

    assert caught.value.retry_after == timedelta(seconds=10)
    assert caught.value.end is CallEnd.CERTAIN


def test_a_success_starts_the_count_again(breaker: ProviderBreaker) -> None:
    """Failures count only in a row."""
    fail(breaker, 4)
    breaker.report(breaker.admit(), healthy=True)
    fail(breaker, 4)

    breaker.admit()


def test_calls_that_tell_nothing_leave_the_count(breaker: ProviderBreaker) -> None:
    """Cancelled calls neither hide an outage nor cause one."""
    fail(breaker, 4)
    breaker.report(breaker.admit(), healthy=None)
    breaker.admit()
    fail(breaker, 1)

    with pytest.raises(ProviderFailed):
        breaker.admit()


def test_one_trial_call_passes_after_the_rest(
    breaker: ProviderBreaker, clock: ManualClock
) -> None:
    """After five seconds one call finds out for all whether the provider is back."""
    fail(breaker, 5)
    clock.now += 9.9
    with pytest.raises(ProviderFailed):
        breaker.check()
    clock.now += 0.1

    breaker.admit()

    with pytest.raises(ProviderFailed) as caught:
        breaker.admit()
    assert caught.value.retry_after == timedelta(seconds=1)


def test_a_trial_that_succeeds_closes_it(
    breaker: ProviderBreaker, clock: ManualClock
) -> None:
    """A provider that is back is asked as before, with five failures to spare."""
    fail(breaker, 5)
    clock.now += 10
    breaker.report(breaker.admit(), healthy=True)

    fail(breaker, 4)
    breaker.admit()
    breaker.admit()


def test_a_trial_that_fails_opens_it_again(
    breaker: ProviderBreaker, clock: ManualClock
) -> None:
    """A provider that is still down gets another rest of ten seconds."""
    fail(breaker, 5)
    clock.now += 10
    fail(breaker, 1)
    clock.now += 9.9
    with pytest.raises(ProviderFailed):
        breaker.check()
    clock.now += 0.1

    breaker.check()


def test_a_cancelled_trial_lets_the_next_one_pass(
    breaker: ProviderBreaker, clock: ManualClock
) -> None:
    """A trial that nobody waits for any more does not keep the breaker open."""
    fail(breaker, 5)
    clock.now += 10
    breaker.report(breaker.admit(), healthy=None)

    breaker.admit()


@pytest.mark.parametrize("healthy", [True, False])
def test_late_calls_do_not_speak_for_the_trial(
    breaker: ProviderBreaker, clock: ManualClock, *, healthy: bool
) -> None:
    """A call from before the outage changes nothing when it ends at last."""
    late = breaker.admit()
    fail(breaker, 5)
    clock.now += 10
    breaker.admit()

    breaker.report(late, healthy=healthy)

    with pytest.raises(ProviderFailed) as caught:
        breaker.check()
    assert caught.value.retry_after == timedelta(seconds=1)


def test_a_trial_that_has_not_failed_after_5_s_closes_it(
    breaker: ProviderBreaker, clock: ManualClock
) -> None:
    """A call that takes minutes does not keep everyone else out."""
    fail(breaker, 5)
    clock.now += 10
    trial = breaker.admit()
    clock.now += 4.9
    assert breaker.is_open
    clock.now += 0.1

    assert not breaker.is_open
    breaker.admit()
    # It fails after all: that is the first failure of a new count.
    breaker.report(trial, healthy=False)
    fail(breaker, 3)
    breaker.admit()
    fail(breaker, 1)
    assert breaker.is_open


def test_a_trial_that_was_accepted_as_a_job_closes_it(
    breaker: ProviderBreaker, clock: ManualClock
) -> None:
    """A provider that takes a job on works; a late one from before says nothing."""
    late = breaker.admit()
    fail(breaker, 5)
    clock.now += 10
    trial = breaker.admit()
    breaker.accepted(late)
    assert breaker.is_open

    breaker.accepted(trial)

    assert not breaker.is_open
    breaker.admit()
