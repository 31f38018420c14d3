"""Remembered failures: for how long, and with which Retry-After."""

from __future__ import annotations

from datetime import timedelta

import pytest

from app.errors import (
    BadImage,
    GenerationError,
    GenerationTimedOut,
    PromptRejected,
    ProviderFailed,
    ProviderRateLimited,
    StorageUnavailable,
)
from app.prompt_cache.flight.remembered_failures import (
    RememberedFailure,
    belongs_to,
    from_note,
    is_hold,
)
from app.storage.storage_key import Project

SHOP = Project("acme", "shop")


class BrokenBrush(ProviderFailed):
    """A failure that only a later version knows."""


FAILURES = [
    (PromptRejected("Not in this shop."), 600),
    (ProviderFailed("It broke down."), 3),
    (BadImage("That is no picture."), 3),
    (GenerationTimedOut("It took too long."), 3),
    (ProviderRateLimited("Slow down.", retry_after=timedelta(seconds=30)), 30),
    (ProviderRateLimited("Slow down.", retry_after=timedelta(hours=3)), 120),
    (ProviderRateLimited("Slow down."), 10),
    (StorageUnavailable("The store is unavailable."), 1),
]


@pytest.mark.parametrize(("error", "seconds"), FAILURES)
def test_a_failure_is_remembered_by_its_class(
    error: GenerationError | StorageUnavailable, seconds: int
) -> None:
    """The time of a remembered failure depends on its class."""
    memory = RememberedFailure.of(SHOP, error)

    assert memory.lasts == memory.retry_after == timedelta(seconds=seconds)
    assert not memory.is_hold


@pytest.mark.parametrize(("error", "_seconds"), FAILURES)
def test_a_remembered_failure_is_the_same_error(
    error: GenerationError | StorageUnavailable, _seconds: int
) -> None:
    """A remembered failure is the same error with Retry-After."""
    memory = RememberedFailure.of(SHOP, error)
    raised = from_note(memory.note, memory.lasts)

    assert type(raised) is type(error)
    assert raised.detail == error.detail
    assert raised.retry_after == memory.retry_after
    assert getattr(raised, "end", None) == getattr(error, "end", None)


@pytest.mark.parametrize("remaining", [60, 30, 1])
def test_a_hold_keeps_clients_off_until_it_is_over(remaining: int) -> None:
    """During a hold Retry-After is always two minutes."""
    error = GenerationTimedOut("It took too long.")
    memory = RememberedFailure.of(SHOP, error, hold=timedelta(seconds=60))
    raised = from_note(memory.note, timedelta(seconds=remaining))

    assert memory.is_hold
    assert is_hold(memory.note)
    assert memory.lasts == timedelta(seconds=60)
    assert memory.retry_after == raised.retry_after == timedelta(seconds=120)


def test_a_longer_hold_is_in_retry_after() -> None:
    """A hold longer than two minutes is the Retry-After."""
    error = GenerationTimedOut("It took too long.")

    assert RememberedFailure.of(
        SHOP, error, hold=timedelta(hours=1)
    ).retry_after == timedelta(hours=1)


def test_a_provider_may_ask_for_more_time_than_is_remembered() -> None:
    """A provider's longer hint is the Retry-After."""
    error = ProviderFailed("It rests.", retry_after=timedelta(seconds=10))
    memory = RememberedFailure.of(SHOP, error)
    raised = from_note(memory.note, timedelta(seconds=1))

    assert memory.lasts == timedelta(seconds=3)
    assert memory.retry_after == timedelta(seconds=10)
    assert raised.retry_after == timedelta(seconds=8)


def test_retry_after_is_at_least_a_second() -> None:
    """Retry-After is at least one second."""
    note = RememberedFailure.of(SHOP, ProviderFailed("It broke down.")).note

    raised = from_note(note, timedelta(milliseconds=3))

    assert raised.retry_after == timedelta(seconds=1)


def test_a_note_belongs_to_its_project() -> None:
    """A note belongs to one project only."""
    note = RememberedFailure.of(SHOP, ProviderFailed("It broke down.")).note

    assert belongs_to(SHOP, note)
    assert not belongs_to(Project("acme", "zoo"), note)


def test_an_unknown_class_is_a_breakdown() -> None:
    """A note of an unknown class is a `ProviderFailed`."""
    raised = from_note(
        RememberedFailure.of(SHOP, BrokenBrush("It broke.")).note, timedelta(seconds=3)
    )

    assert type(raised) is ProviderFailed
