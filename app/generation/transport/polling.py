"""Polling: asking after a job, ever more patiently, until it is done.

A job is paid for and to ask after it is not, so what may pass (a cut
connection, a provider that is out of order or wants fewer questions) is borne
until the caller's deadline. What will not pass ends the wait.
"""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import TYPE_CHECKING, TypeVar

from app.errors import BadImage, ProviderFailed
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

_NONSENSE_IN_A_ROW = 3


def will_pass(reply: Reply) -> bool:
    """Say whether an answer is one that a later question may not get."""
    return (
        reply.status >= HTTPStatus.INTERNAL_SERVER_ERROR
        or reply.status == HTTPStatus.TOO_MANY_REQUESTS
    )


async def follow(
    look: Callable[[], Awaitable[Reply]],
    read: Callable[[Reply], Awaitable[Outcome | None]],
    *,
    at_once: bool = False,
    passes: Callable[[Reply], bool] = will_pass,
    failure: Callable[[Reply], GenerationError] = lost_job_of,
) -> Outcome:
    """Return what *read* first makes of an answer that *look* gave.

    *at_once* looks before the first pause, at what may be done long since.
    Raises *failure* for an error that does not pass, `BadImage` for the third
    answer in a row that is no JSON object, and what *read* raises.
    """
    pause_seconds, nonsense = FIRST_PAUSE_SECONDS, 0
    while True:
        if not at_once:
            await asyncio.sleep(pause_seconds)
            pause_seconds = min(pause_seconds * GROWTH, LONGEST_PAUSE_SECONDS)
        at_once = False
        try:
            reply = await look()
        except BadImage:
            raise
        except ProviderFailed:
            continue
        if passes(reply):
            hint = retry_hint(reply.headers, reply.document)
            pause_seconds = max(pause_seconds, hint.total_seconds() if hint else 0.0)
        elif not reply.is_success:
            raise failure(reply)
        elif not isinstance(reply.document, dict):
            nonsense += 1
            if nonsense == _NONSENSE_IN_A_ROW:
                raise BadImage("The image provider's answer makes no sense.")
        else:
            nonsense = 0
            outcome = await read(reply)
            if outcome is not None:
                return outcome
