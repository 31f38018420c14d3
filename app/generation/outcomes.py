"""Outcomes: what the end of a call means to metrics, journal and breaker. Pure."""

from __future__ import annotations

from asyncio import CancelledError

from app.errors import (
    BadImage,
    CallEnd,
    GenerationTimedOut,
    InvalidRequest,
    PromptRejected,
    ProviderFailed,
    ProviderRateLimited,
)
from app.generation.painting import CallOutcome
from app.generation.transport.call_ends import end_of


def outcome_of(failure: BaseException | None) -> CallOutcome:
    """Return the outcome of a call for metrics; a *failure* of None is a picture."""
    match failure:
        case None:
            return CallOutcome.OK
        case PromptRejected():
            return CallOutcome.REJECTED
        case ProviderRateLimited():
            return CallOutcome.RATE_LIMITED
        case GenerationTimedOut():
            return CallOutcome.TIMEOUT
        case BadImage():
            return CallOutcome.BAD_IMAGE
        case _:
            return CallOutcome.FAILED


def booked_as(failure: BaseException | None) -> CallOutcome:
    """Return the outcome of a call for the journal."""
    if end_of(failure) is CallEnd.AMBIGUOUS:
        return CallOutcome.UNKNOWN
    return outcome_of(failure)


def is_healthy(failure: BaseException | None) -> bool | None:
    """Return whether the provider works; None where the call tells nothing.

    To refuse a prompt, to want fewer requests and to turn down what was asked
    for are no sign that it is out of order, and none that it is not. Neither
    is a call that we cut before its own deadline.
    """
    match failure:
        case None:
            return True
        case CancelledError() | InvalidRequest():
            return None
        case PromptRejected() | ProviderRateLimited():
            return None
        case GenerationTimedOut(is_own_cut=True) | ProviderFailed(blames_request=True):
            return None
        case _:
            return False
