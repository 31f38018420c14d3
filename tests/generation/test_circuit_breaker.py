"""The circuit breaker of a provider: when it opens, and when it closes."""

from __future__ import annotations

from datetime import timedelta

import pytest

from app.errors import CallEnd, ProviderFailed
from app.generation.circuit_breaker import ProviderBreaker
from tests.manual_clock import ManualClock


@pytest.fixture
def clock() -> ManualClock:
    """Return the clock of the breaker."""
    return ManualClock()


@pytest.fixture
def breaker(clock: ManualClock) -> ProviderBreaker:
    """Return a closed breaker with the service's own limits."""
    return ProviderBreaker(clock=clock)


def fail(breaker: ProviderBreaker, times: int) -> None:
    """Admit *times* calls in a row, each of which fails."""
    for _ in range(times):
        breaker.report(breaker.admit(), healthy=False)


def test_four_failures_in_a_row_are_borne(breaker: ProviderBreaker) -> None:
    """Four failures in a row leave the breaker closed."""
    fail(breaker, 4)

    breaker.admit()


def test_the_fifth_failure_opens_it(breaker: ProviderBreaker) -> None:
    """The fifth failure in a row opens the breaker for ten seconds."""
    fail(breaker, 5)

    with pytest.raises(ProviderFailed) as caught:
        breaker.admit()

    assert caught.value.retry_after == timedelta(seconds=10)
    assert caught.value.end is CallEnd.CERTAIN


def test_a_success_starts_the_count_again(breaker: ProviderBreaker) -> None:
    """A success resets the count of failures."""
    fail(breaker, 4)
    breaker.report(breaker.admit(), healthy=True)
    fail(breaker, 4)

    breaker.admit()


def test_cancelled_calls_leave_the_count(breaker: ProviderBreaker) -> None:
    """Cancelled calls neither add to the count of failures nor reset it."""
    fail(breaker, 4)
    breaker.report(breaker.admit(), healthy=None)
    breaker.admit()
    fail(breaker, 1)

    with pytest.raises(ProviderFailed):
        breaker.admit()


def test_one_trial_call_passes_after_the_rest(
    breaker: ProviderBreaker, clock: ManualClock
) -> None:
    """After the rest one trial call passes, and further ones are refused."""
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
    """A successful trial closes the breaker and resets the count."""
    fail(breaker, 5)
    clock.now += 10
    breaker.report(breaker.admit(), healthy=True)

    fail(breaker, 4)
    breaker.admit()
    breaker.admit()


def test_a_trial_that_fails_opens_it_again(
    breaker: ProviderBreaker, clock: ManualClock
) -> None:
    """A failed trial opens the breaker for another ten seconds."""
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
    """After a cancelled trial another one passes."""
    fail(breaker, 5)
    clock.now += 10
    breaker.report(breaker.admit(), healthy=None)

    breaker.admit()


@pytest.mark.parametrize("healthy", [True, False])
def test_late_calls_do_not_speak_for_the_trial(
    breaker: ProviderBreaker, clock: ManualClock, *, healthy: bool
) -> None:
    """The end of a call from before the outage does not change the breaker."""
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
    """A trial that runs for five seconds closes the breaker."""
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
    """A trial accepted as a job closes the breaker; an older call does not."""
    late = breaker.admit()
    fail(breaker, 5)
    clock.now += 10
    trial = breaker.admit()
    breaker.accepted(late)
    assert breaker.is_open

    breaker.accepted(trial)

    assert not breaker.is_open
    breaker.admit()
