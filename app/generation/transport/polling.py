"""Polling: a vendor's job, and then its result, asked for until the deadline.

A job is paid for and a GET is not. So what may pass is borne until the
deadline: a cut connection, a stall, a vendor that is out of order, one that
forgets its job for a second. At the deadline itself there is one last try.
"""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import TYPE_CHECKING, TypeVar

from app.errors import BadImage, CallEnd, GenerationTimedOut, ProviderFailed
from app.generation.transport.failures import lost_job_of
from app.generation.transport.retry_hints import retry_hint

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from app.errors import GenerationError
    from app.generation.transport.vendor_api import Reply

Outcome = TypeVar("Outcome")

# The fastest models are done within a second; a minute's job is asked after
# some twenty times.
FIRST_PAUSE_SECONDS = 0.3
LONGEST_PAUSE_SECONDS = 4.0
GROWTH = 1.3

# One try. A vendor that stalls must not take the whole deadline with it.
TRY_SECONDS = 15.0

# An answer that would end the wait does so as the third in a row, after this time.
IN_A_ROW = 3
ROW_SECONDS = 5.0

# A gateway, or a replica of the vendor's that lags behind, says these in passing.
_PASSING_FOR_A_JOB = {401, 403, 404, 408, 409, 425}
_PASSING_FOR_A_RESULT = {403, 404, 408, 425}
_MISSING = {403, 404, 410}


class TryAgain(Exception):
    """A try came to nothing; *failure* is what is raised if it was the last one.

    *pause_seconds* is how long the vendor asks to wait.
    """

    def __init__(self, failure: GenerationError, *, pause_seconds: float = 0.0) -> None:
        super().__init__()
        self.failure = failure
        self.pause_seconds = pause_seconds


class Streak:
    """Answers in a row that would end the wait."""

    def __init__(self) -> None:
        self._count = 0
        self._began_at = 0.0

    def is_over(self) -> bool:
        """Count one answer more; return whether these are enough to believe them."""
        now = _now()
        if not self._count:
            self._began_at = now
        self._count += 1
        return self._count >= IN_A_ROW and now - self._began_at >= ROW_SECONDS

    def end(self) -> None:
        """Begin anew: another answer came in between."""
        self._count = 0


async def repeat(
    attempt: Callable[[], Awaitable[Outcome]],
    deadline: float,
    *,
    stalled: Callable[[], GenerationError],
    at_once: bool = True,
) -> Outcome:
    """Return the first result of *attempt*, trying again after each `TryAgain`.

    Pauses grow, and none is longer than the time left. The last try begins at
    *deadline*, by the event loop's clock, and its failure is raised; that of a
    try which took too long is *stalled*.
    """
    pause_seconds, asked_seconds, pauses = FIRST_PAUSE_SECONDS, 0.0, not at_once
    while True:
        if pauses:
            wanted = max(pause_seconds, asked_seconds)
            await asyncio.sleep(max(0.0, min(wanted, deadline - _now())))
            pause_seconds = min(pause_seconds * GROWTH, LONGEST_PAUSE_SECONDS)
        pauses, is_last = True, _now() >= deadline
        try:
            async with asyncio.timeout(TRY_SECONDS):
                return await attempt()
        except TimeoutError:
            failure, asked_seconds = stalled(), 0.0
        except TryAgain as again:
            failure, asked_seconds = again.failure, again.pause_seconds
        if is_last:
            raise failure


async def follow(
    look: Callable[[], Awaitable[Reply]],
    read: Callable[[Reply], Awaitable[Outcome | None]],
    *,
    deadline: float,
    at_once: bool = False,
    failure: Callable[[Reply], GenerationError] = lost_job_of,
) -> Outcome:
    """Return the first result that *read* finds in a poll of a job, sent by *look*.

    *at_once* polls before the first pause, for what may be done long since.
    Raises `GenerationTimedOut` after the last poll at *deadline*, *failure* of
    an answer that ends the wait, `BadImage` for answers that are no JSON
    object, and what *read* raises.
    """
    refusals, nonsense = Streak(), Streak()

    async def poll() -> Outcome:
        reply = await _sent(look, _late)
        if reply.is_success:
            refusals.end()
            if not isinstance(reply.document, dict):
                if nonsense.is_over():
                    raise BadImage("The image provider's answer makes no sense.")
                raise TryAgain(_late())
            nonsense.end()
            outcome = await read(reply)
            if outcome is None:
                raise TryAgain(_late())
            return outcome
        nonsense.end()
        if is_overloaded(reply.status):
            refusals.end()
        elif reply.status not in _PASSING_FOR_A_JOB or refusals.is_over():
            raise failure(reply)
        raise TryAgain(_late(), pause_seconds=_pause_of(reply))

    return await repeat(poll, deadline, stalled=_late, at_once=at_once)


async def fetch_document(
    look: Callable[[], Awaitable[Reply]],
    *,
    deadline: float,
    failure: Callable[[Reply], GenerationError | None],
) -> Reply:
    """Return the document of a job that has succeeded, sent for by *look*.

    *failure* names what an answer without success is, None where only its
    status counts. Raises `BadImage` for a result that is gone, `ProviderFailed`
    for one that can't be had until *deadline*.
    """

    async def fetch() -> Reply:
        reply = await _sent(look, unavailable_result)
        if reply.is_success:
            return reply
        known = failure(reply)
        if known is not None:
            raise known
        raise refused_result(reply.status, pause_seconds=_pause_of(reply))

    return await repeat(fetch, deadline, stalled=unavailable_result)


def is_overloaded(status: int) -> bool:
    """Return whether *status* is one that a later request need not get."""
    return (
        status >= HTTPStatus.INTERNAL_SERVER_ERROR
        or status == HTTPStatus.TOO_MANY_REQUESTS
    )


def refused_result(
    status: int, *, pause_seconds: float = 0.0
) -> TryAgain | GenerationError:
    """Return the error of a result that was answered with *status*."""
    missing = BadImage("The image provider's result is not there.")
    failure = missing if status in _MISSING else unavailable_result()
    if is_overloaded(status) or status in _PASSING_FOR_A_RESULT:
        return TryAgain(failure, pause_seconds=pause_seconds)
    return missing


def unavailable_result() -> ProviderFailed:
    """Return the error of a picture that is made, and can't be fetched yet."""
    return ProviderFailed(
        "The image provider's result could not be fetched.", end=CallEnd.BILLED
    )


def _late() -> GenerationTimedOut:
    return GenerationTimedOut("The image provider was not done in time.")


async def _sent(
    look: Callable[[], Awaitable[Reply]], failure: Callable[[], GenerationError]
) -> Reply:
    try:
        return await look()
    except BadImage:
        raise
    except ProviderFailed as error:
        raise TryAgain(failure()) from error


def _pause_of(reply: Reply) -> float:
    hint = retry_hint(reply.headers, reply.document)
    return hint.total_seconds() if hint else 0.0


def _now() -> float:
    return asyncio.get_running_loop().time()
