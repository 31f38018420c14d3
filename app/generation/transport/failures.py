"""Failures: what an answer without success means, whatever the vendor."""

from __future__ import annotations

from datetime import timedelta
from http import HTTPStatus
from typing import TYPE_CHECKING

from app.errors import (
    GenerationError,
    GenerationTimedOut,
    PromptRejected,
    ProviderFailed,
    ProviderRateLimited,
)
from app.generation.transport.retry_hints import retry_hint

if TYPE_CHECKING:
    from app.generation.transport.vendor_api import Reply

WITHOUT_A_HINT = timedelta(seconds=10)

# The gateway gave up on a painting that may go on (524 is Cloudflare's 504).
_TIMED_OUT = {HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.GATEWAY_TIMEOUT, 524}


def refusal() -> PromptRejected:
    """Return the error of a prompt, or a reference, that the provider refused."""
    return PromptRejected("The image provider refused the prompt.")


def failure_of(
    reply: Reply, *, is_quota: bool = False, is_key: bool = False
) -> GenerationError:
    """Return what a *reply* with a status of 300 or more amounts to.

    The dialect tells what the status can't: that a limit is one of money,
    which waiting does not lift, or that it is the key which is wrong.
    """
    status = reply.status
    hint = retry_hint(reply.headers, reply.document)
    if is_quota or status == HTTPStatus.PAYMENT_REQUIRED:
        return ProviderFailed("The account at the image provider is used up.")
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        return ProviderRateLimited(
            "The image provider asks for fewer requests.",
            retry_after=hint or WITHOUT_A_HINT,
        )
    if status in _TIMED_OUT:
        return GenerationTimedOut("The image provider timed out.")
    return ProviderFailed(_sentence(status, is_key=is_key), retry_after=hint)


def _sentence(status: int, *, is_key: bool) -> str:
    if is_key or status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
        return "The image provider does not accept this service's key."
    if status == HTTPStatus.NOT_FOUND:
        return "The image provider does not know the model."
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return "The image provider is out of order."
    return "The image provider does not accept the request."
