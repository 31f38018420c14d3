"""Failures: what an answer without success means, whatever the vendor."""

from __future__ import annotations

from datetime import timedelta
from http import HTTPStatus
from typing import TYPE_CHECKING

from app.errors import (
    CallEnd,
    GenerationError,
    GenerationTimedOut,
    PromptRejected,
    ProviderFailed,
    ProviderRateLimited,
)
from app.generation.transport.call_ends import end_of_refusal, end_of_status
from app.generation.transport.retry_hints import retry_hint
from app.generation.transport.verdicts import VendorVerdict, verdict_of

if TYPE_CHECKING:
    from app.generation.transport.vendor_api import Reply

WITHOUT_A_HINT = timedelta(seconds=10)

# The gateway gave up on a painting that may go on (524 is Cloudflare's 504).
_TIMED_OUT = {HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.GATEWAY_TIMEOUT, 524}
_ACCOUNT = {
    VendorVerdict.ACCOUNT_EMPTY: "The account at the image provider is used up.",
    VendorVerdict.ACCOUNT_BLOCKED: (
        "The image provider has blocked this service's account."
    ),
    VendorVerdict.ACCOUNT_UNVERIFIED: (
        "The image provider wants this service's account to be verified first."
    ),
}
# One caller's odd parameter.
_BLAME_REQUEST = {HTTPStatus.BAD_REQUEST, HTTPStatus.UNPROCESSABLE_ENTITY}


def refusal(end: CallEnd = CallEnd.CERTAIN) -> PromptRejected:
    """Return the error of a prompt, or a reference, that the provider refused.

    It is `BILLED` where the provider had begun to paint.
    """
    return PromptRejected("The image provider refused the prompt.", end=end)


def failure_of(
    reply: Reply, *, is_quota: bool = False, is_key: bool = False
) -> GenerationError:
    """Return the error of a *reply* with a status of 300 or more.

    Refusals and blocked accounts are known by `verdicts`. The dialect tells
    what neither that nor the status can: a limit of money, which waiting does
    not lift, or a wrong key.
    """
    status, end = reply.status, end_of_status(reply.status)
    hint = retry_hint(reply.headers, reply.document)
    verdict = verdict_of(reply.document, reply.headers)
    if verdict is VendorVerdict.REFUSED:
        return refusal(end_of_refusal(end))
    if is_quota or status == HTTPStatus.PAYMENT_REQUIRED:
        verdict = VendorVerdict.ACCOUNT_EMPTY
    if verdict is not None:
        return account_failure(verdict, end)
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        return ProviderRateLimited(
            "The image provider asks for fewer requests.",
            end=end,
            retry_after=hint or WITHOUT_A_HINT,
        )
    if status in _TIMED_OUT:
        return GenerationTimedOut("The image provider timed out.", end=end)
    return ProviderFailed(
        _sentence(status, is_key=is_key),
        end=end,
        retry_after=hint,
        blames_request=status in _BLAME_REQUEST and not is_key,
    )


def account_failure(verdict: VendorVerdict, end: CallEnd) -> ProviderFailed:
    """Return the failure of our account with the vendor, which fails every request."""
    return ProviderFailed(_ACCOUNT[verdict], end=end)


def lost_job_of(reply: Reply) -> GenerationError:
    """Return the error of a *reply* that loses a job which was accepted."""
    error = failure_of(reply)
    error.end = CallEnd.AMBIGUOUS
    return error


def _sentence(status: int, *, is_key: bool) -> str:
    if is_key or status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
        return "The image provider does not accept this service's key."
    if status == HTTPStatus.NOT_FOUND:
        return "The image provider does not know the model."
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return "The image provider is out of order."
    return "The image provider does not accept the request."
