"""Failures are remembered for a short time, by their class.

Otherwise the followers of a failed leader would become leaders one after
another, and each would pay for the same refusal.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import orjson

from app.errors import (
    BadImage,
    GenerationError,
    GenerationTimedOut,
    PromptRejected,
    ProviderFailed,
    ProviderRateLimited,
    ServiceError,
    StorageUnavailable,
)

if TYPE_CHECKING:
    from app.storage.storage_key import Project

REFUSAL = timedelta(seconds=600)
BREAKDOWN = timedelta(seconds=3)
RATE_LIMIT_AT_MOST = timedelta(seconds=120)
RATE_LIMIT_WITHOUT_HINT = timedelta(seconds=10)
# Told rather than remembered: long enough for those who follow right now, and
# over before anybody comes back who was told when to.
OUTAGE = timedelta(seconds=1)

_CLASSES: dict[str, type[ServiceError]] = {
    kind.__name__: kind
    for kind in (
        PromptRejected,
        ProviderRateLimited,
        ProviderFailed,
        BadImage,
        GenerationTimedOut,
        StorageUnavailable,
    )
}


def remember_for(error: GenerationError | StorageUnavailable) -> timedelta:
    """Return how long the failure speaks for its prompt."""
    match error:
        case PromptRejected():
            return REFUSAL
        case ProviderRateLimited():
            hint = error.retry_after or RATE_LIMIT_WITHOUT_HINT
            return min(hint, RATE_LIMIT_AT_MOST)
        case StorageUnavailable():
            return OUTAGE
        case _:
            return BREAKDOWN


def to_note(project: Project, error: GenerationError | StorageUnavailable) -> bytes:
    """Return what is remembered of *error* for a prompt of *project*."""
    kind = type(error).__name__
    known = kind if kind in _CLASSES else ProviderFailed.__name__
    return orjson.dumps(
        {"project": str(project), "kind": known, "detail": error.detail}
    )


def belongs_to(project: Project, note: bytes) -> bool:
    """Say whether *note* is about a prompt of *project*."""
    return bool(orjson.loads(note)["project"] == str(project))


def is_outage(note: bytes) -> bool:
    """Say whether *note* tells of the object store, not of the prompt."""
    return bool(orjson.loads(note)["kind"] == StorageUnavailable.__name__)


def from_note(note: bytes, remaining: timedelta) -> ServiceError:
    """Return the failure that is remembered for *remaining* longer."""
    fields = orjson.loads(note)
    error = _CLASSES[fields["kind"]](fields["detail"])
    error.retry_after = max(remaining, timedelta(seconds=1))
    return error
