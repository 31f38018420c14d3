"""Failures are remembered for a short time, by their class.

Otherwise the followers of a failed leader would become leaders one after
another, and each would pay for the same refusal. A call that may have been
billed without our knowing is remembered as a hold: until it ends nothing more
is paid for the prompt, purged or not.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import orjson

from app.errors import (
    BadImage,
    CallEnd,
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
MAX_RATE_LIMIT_TIME = timedelta(seconds=120)
RATE_LIMIT_WITHOUT_HINT = timedelta(seconds=10)
# TTL for outages: long enough for current followers, shorter than the
# Retry-After that we send.
OUTAGE = timedelta(seconds=1)
# One SDK waits for what is below 60 s, and would then pay.
MIN_HOLD_RETRY_AFTER = timedelta(seconds=120)

_NONE = timedelta(0)
_SECOND = timedelta(seconds=1)

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


@dataclass(frozen=True, slots=True)
class RememberedFailure:
    """A remembered failure: *note* for as long as it *lasts*.

    *retry_after* is what its first answer says.
    """

    note: bytes
    lasts: timedelta
    retry_after: timedelta
    is_hold: bool = False

    @classmethod
    def of(
        cls,
        project: Project,
        error: GenerationError | StorageUnavailable,
        *,
        hold: timedelta = _NONE,
    ) -> RememberedFailure:
        """Return the memory of *error* for a prompt of *project*."""
        lasts = hold or remember_for(error)
        hint = error.retry_after or _NONE
        if isinstance(error, ProviderRateLimited):
            hint = min(hint, MAX_RATE_LIMIT_TIME)
        kind = type(error).__name__
        fields = {
            "project": str(project),
            "kind": kind if kind in _CLASSES else ProviderFailed.__name__,
            "detail": error.detail,
            "end": getattr(error, "end", CallEnd.CERTAIN),
            "hold": bool(hold),
            # A provider may ask for more time than the failure is remembered.
            "beyond": max(0.0, (hint - lasts).total_seconds()),
        }
        note = orjson.dumps(fields)
        return cls(note, lasts, _retry_after(fields, lasts), bool(hold))


def remember_for(error: GenerationError | StorageUnavailable) -> timedelta:
    """Return how long the failure speaks for its prompt."""
    match error:
        case PromptRejected():
            return REFUSAL
        case ProviderRateLimited():
            hint = error.retry_after or RATE_LIMIT_WITHOUT_HINT
            return min(hint, MAX_RATE_LIMIT_TIME)
        case StorageUnavailable():
            return OUTAGE
        case _:
            return BREAKDOWN


def belongs_to(project: Project, note: bytes) -> bool:
    """Return whether *note* is about a prompt of *project*."""
    return bool(orjson.loads(note)["project"] == str(project))


def is_outage(note: bytes) -> bool:
    """Return whether *note* is about the object store, not about the prompt."""
    return bool(orjson.loads(note)["kind"] == StorageUnavailable.__name__)


def is_hold(note: bytes) -> bool:
    """Return whether nothing may be paid for the prompt while *note* lasts."""
    return bool(orjson.loads(note).get("hold"))


def from_note(note: bytes, remaining: timedelta) -> ServiceError:
    """Return the failure that is remembered for *remaining* longer."""
    fields = orjson.loads(note)
    error = _CLASSES[fields["kind"]](fields["detail"])
    if isinstance(error, GenerationError):
        error.end = CallEnd(fields.get("end", error.end))
    error.retry_after = _retry_after(fields, remaining)
    return error


def _retry_after(fields: dict[str, Any], remaining: timedelta) -> timedelta:
    if fields.get("hold"):
        return max(remaining, MIN_HOLD_RETRY_AFTER)
    beyond = timedelta(seconds=fields.get("beyond", 0.0))
    return max(remaining + beyond, _SECOND)
