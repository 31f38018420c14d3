"""Outcomes: what the end of a call means to metrics, money and the breaker. Pure."""

from __future__ import annotations

from asyncio import CancelledError

from app.errors import (
    BadImage,
    GenerationError,
    GenerationTimedOut,
    InvalidRequest,
    PromptRejected,
    ProviderRateLimited,
)
from app.generation.painting import Outcome


def outcome_of(failure: BaseException | None) -> Outcome:
    """Return what metrics and books call the end of a call; None is a picture."""
    match failure:
        case None:
            return Outcome.OK
        case PromptRejected():
            return Outcome.REJECTED
        case ProviderRateLimited():
            return Outcome.RATE_LIMITED
        case GenerationTimedOut():
            return Outcome.TIMEOUT
        case BadImage():
            return Outcome.BAD_IMAGE
        case _:
            return Outcome.FAILED


def is_healthy(failure: BaseException | None) -> bool | None:
    """Tell whether the provider works; None where the call tells nothing.

    To refuse a prompt, to want fewer requests and to be asked for what can't
    be done are no sign that it is out of order, and none that it is not.
    """
    if failure is None:
        return True
    silent = CancelledError | InvalidRequest | PromptRejected | ProviderRateLimited
    return None if isinstance(failure, silent) else False


def is_free(failure: BaseException | None) -> bool:
    """Tell whether a call is surely not billed.

    A call that was cancelled is a cut connection, which may be billed as well.
    """
    if isinstance(failure, GenerationError):
        return not failure.maybe_billed
    return isinstance(failure, InvalidRequest)
