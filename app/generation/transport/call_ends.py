"""Call ends: whether a call to a provider may have been billed. Pure.

The one place that decides it, for every vendor and every transport. Money,
fall-backs, the circuit breaker and what is remembered for the prompt follow.
"""

from __future__ import annotations

from http import HTTPStatus

import aiohttp

from app.errors import CallEnd, GenerationError, InvalidRequest

# Raised before a byte of the request has left, so nothing was asked.
_NOT_SENT = (
    aiohttp.ClientConnectorError,
    aiohttp.ConnectionTimeoutError,
    aiohttp.InvalidURL,
    aiohttp.NonHttpUrlClientError,
)

# The vendor itself says that it has done nothing.
_CERTAIN_5XX = {
    HTTPStatus.INTERNAL_SERVER_ERROR,
    HTTPStatus.NOT_IMPLEMENTED,
    HTTPStatus.SERVICE_UNAVAILABLE,
}


def end_of_status(status: int) -> CallEnd:
    """Return the end of a call that was answered with *status*.

    A gateway that gave up (408, 502, 504, 520 to 524) knows nothing of the
    painting behind it, and neither does a status that is new to us.
    """
    if status < HTTPStatus.MULTIPLE_CHOICES:
        return CallEnd.BILLED
    if status == HTTPStatus.REQUEST_TIMEOUT:
        return CallEnd.AMBIGUOUS
    if status < HTTPStatus.INTERNAL_SERVER_ERROR or status in _CERTAIN_5XX:
        return CallEnd.CERTAIN
    return CallEnd.AMBIGUOUS


def end_of_refusal(end: CallEnd) -> CallEnd:
    """Return the end of a refusal whose status means *end*: never ambiguous.

    A gateway that hands a refusal on has seen the provider run.
    """
    return CallEnd.BILLED if end is CallEnd.AMBIGUOUS else end


def end_of_connection(error: Exception) -> CallEnd:
    """Return the end of a call whose connection failed with *error*."""
    return CallEnd.CERTAIN if isinstance(error, _NOT_SENT) else CallEnd.AMBIGUOUS


def end_of_job(end: CallEnd) -> CallEnd:
    """Return the end of a job that had started, by its error's *end*: never free."""
    return CallEnd.BILLED if end is CallEnd.CERTAIN else end


def end_of(failure: BaseException | None) -> CallEnd:
    """Return the end of a call by its *failure*; None is a picture.

    A request that the adapter refused was never sent. Anything else that
    is no `GenerationError` broke a call off in the middle.
    """
    match failure:
        case None:
            return CallEnd.BILLED
        case GenerationError():
            return failure.end
        case InvalidRequest():
            return CallEnd.CERTAIN
        case _:
            return CallEnd.AMBIGUOUS
