"""The time for which a failure speaks for its prompt, and what it says."""

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
    Memory,
    belongs_to,
    from_note,
    is_hold,
)
from app.storage.storage_key import Project

SHOP = Project("acme", "shop")


class BrokenBrush(ProviderFailed):
    """A failure that a later version may know."""


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
    """A refusal lasts, a breakdown is short, a rate limit says it itself."""
    memory = Memory.of(SHOP, error)

    assert memory.lasts == memory.retry_after == timedelta(seconds=seconds)
    assert not memory.is_hold


@pytest.mark.parametrize(("error", "_seconds"), FAILURES)
def test_a_remembered_failure_is_the_same_error(
    error: GenerationError | StorageUnavailable, _seconds: int
) -> None:
    """A later request gets the same class and sentence, and when to come back."""
    memory = Memory.of(SHOP, error)
    told = from_note(memory.note, memory.lasts)

    assert type(told) is type(error)
    assert told.detail == error.detail
    assert told.retry_after == memory.retry_after
    assert getattr(told, "end", None) == getattr(error, "end", None)


@pytest.mark.parametrize("remaining", [60, 30, 1])
def test_a_hold_keeps_clients_off_until_it_is_over(remaining: int) -> None:
    """Throughout it, from the first answer on, an SDK is told to wait two minutes."""
    error = GenerationTimedOut("It took too long.")
    memory = Memory.of(SHOP, error, hold=timedelta(seconds=60))
    told = from_note(memory.note, timedelta(seconds=remaining))

    assert memory.is_hold
    assert is_hold(memory.note)
    assert memory.lasts == timedelta(seconds=60)
    assert memory.retry_after == told.retry_after == timedelta(seconds=120)


def test_a_longer_hold_is_told_as_it_is() -> None:
    """An operator who holds a prompt for an hour keeps clients off for an hour."""
    error = GenerationTimedOut("It took too long.")

    assert Memory.of(SHOP, error, hold=timedelta(hours=1)).retry_after == timedelta(
        hours=1
    )


def test_a_provider_may_ask_for_more_time_than_is_remembered() -> None:
    """Its own hint outlasts the memory of its failure."""
    error = ProviderFailed("It rests.", retry_after=timedelta(seconds=10))
    memory = Memory.of(SHOP, error)
    told = from_note(memory.note, timedelta(seconds=1))

    assert memory.lasts == timedelta(seconds=3)
    assert memory.retry_after == timedelta(seconds=10)
    assert told.retry_after == timedelta(seconds=8)


def test_nobody_is_told_to_come_back_at_once() -> None:
    """A failure that is about to expire is worth a second's wait."""
    note = Memory.of(SHOP, ProviderFailed("It broke down.")).note

    told = from_note(note, timedelta(milliseconds=3))

    assert told.retry_after == timedelta(seconds=1)


def test_a_note_belongs_to_its_project() -> None:
    """Another project learns nothing of a failure, not even that there is one."""
    note = Memory.of(SHOP, ProviderFailed("It broke down.")).note

    assert belongs_to(SHOP, note)
    assert not belongs_to(Project("acme", "zoo"), note)


def test_an_unknown_class_is_told_as_a_breakdown() -> None:
    """A failure that other replicas may not know is told by a class they do."""
    told = from_note(
        Memory.of(SHOP, BrokenBrush("It broke.")).note, timedelta(seconds=3)
    )

    assert type(told) is ProviderFailed
