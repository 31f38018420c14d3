"""How long a failure speaks for its prompt, and what it says."""

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
    belongs_to,
    from_note,
    remember_for,
    to_note,
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
    (StorageUnavailable("The store is away."), 1),
]


@pytest.mark.parametrize(("error", "seconds"), FAILURES)
def test_a_failure_is_remembered_by_its_class(
    error: GenerationError | StorageUnavailable, seconds: int
) -> None:
    """A refusal lasts, a breakdown is short, a rate limit says it itself."""
    assert remember_for(error) == timedelta(seconds=seconds)


@pytest.mark.parametrize(("error", "_seconds"), FAILURES)
def test_a_remembered_failure_is_the_same_error(
    error: GenerationError | StorageUnavailable, _seconds: int
) -> None:
    """Whoever asks later gets the same class and sentence, and when to come back."""
    told = from_note(to_note(SHOP, error), timedelta(seconds=42))

    assert type(told) is type(error)
    assert told.detail == error.detail
    assert told.retry_after == timedelta(seconds=42)


def test_nobody_is_told_to_come_back_at_once() -> None:
    """A failure that is about to expire is worth a second's wait."""
    note = to_note(SHOP, ProviderFailed("It broke down."))

    told = from_note(note, timedelta(milliseconds=3))

    assert told.retry_after == timedelta(seconds=1)


def test_a_note_belongs_to_its_project() -> None:
    """Another project learns nothing of a failure, not even that there is one."""
    note = to_note(SHOP, ProviderFailed("It broke down."))

    assert belongs_to(SHOP, note)
    assert not belongs_to(Project("acme", "zoo"), note)


def test_an_unknown_class_is_told_as_a_breakdown() -> None:
    """A failure that other replicas may not know is told by a class they do."""
    told = from_note(to_note(SHOP, BrokenBrush("It broke.")), timedelta(seconds=3))

    assert type(told) is ProviderFailed
