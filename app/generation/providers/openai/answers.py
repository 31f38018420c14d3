"""Answers in the OpenAI images dialect that hold no picture, and what they mean.

Three shapes of envelope are about: `{"error": {"code", "type", "message"}}`,
`{"error": "text"}` (stable-diffusion.cpp) and `{"detail": text or list}`
(FastAPI: vLLM-Omni, SGLang).
"""

from __future__ import annotations

import re
from http import HTTPStatus
from typing import TYPE_CHECKING

from app.errors import (
    GenerationError,
    PromptRejected,
    ProviderFailed,
    ProviderRateLimited,
)
from app.generation.transport.outbound import pick
from app.generation.transport.retry_hints import retry_hint

if TYPE_CHECKING:
    from app.generation.transport.outbound import Answer

_REFUSALS = {"moderation_blocked", "content_policy_violation", "content_filter"}
# Older servers give no code with a refusal, only OpenAI's sentence.
_REFUSAL_TEXTS = ("safety system", "content policy", "content_policy_violation")

# Waiting does not fill an account, so these 429s are no rate limits.
_QUOTA = {
    "insufficient_quota",
    "billing_hard_limit_reached",
    "billing_not_active",
    "project_spend_limit_exceeded",
}

# The gateway gave up on a painting that may go on (524 is Cloudflare's 504).
_TIMED_OUT = {HTTPStatus.GATEWAY_TIMEOUT, 524}

# Codes are logged, so nothing that could be a sentence, a prompt or a key.
_CODE = re.compile(r"[a-z0-9_]{1,64}")


def error_code(document: object) -> str | None:
    """Return the code (or else the type) of an error envelope, if it has one."""
    error = pick(document, "error")
    detail = pick(document, "detail", 0)
    for code in (pick(error, "code"), pick(error, "type"), pick(detail, "type"), error):
        if isinstance(code, str) and _CODE.fullmatch(code):
            return code
    return None


def is_refusal(document: object) -> bool:
    """Say whether an error envelope refuses the prompt or the references."""
    if error_code(document) in _REFUSALS:
        return True
    error, detail = pick(document, "error"), pick(document, "detail")
    texts = (pick(error, "message"), error, detail, pick(detail, 0, "msg"))
    return any(
        sign in text.lower()
        for text in texts
        if isinstance(text, str)
        for sign in _REFUSAL_TEXTS
    )


def failure_of(answer: Answer, document: object) -> GenerationError:
    """Return the error that an *answer* without success amounts to."""
    status, code = answer.status, error_code(document)
    if 400 <= status < 500 and is_refusal(document):  # noqa: PLR2004 - RFC 9110 15.5
        return PromptRejected("The image provider refused the prompt.")
    hint = retry_hint(answer.headers, document)
    if status == HTTPStatus.TOO_MANY_REQUESTS and code not in _QUOTA:
        return ProviderRateLimited(
            "The image provider asks for fewer requests.", retry_after=hint
        )
    if status in _TIMED_OUT:
        return ProviderFailed("The image provider timed out.", maybe_billed=True)
    return ProviderFailed(_sentence(status, code), retry_after=hint)


def _sentence(status: int, code: str | None) -> str:
    if code in _QUOTA:
        return "The account at the image provider is used up."
    match status:
        case HTTPStatus.UNAUTHORIZED | HTTPStatus.FORBIDDEN:
            return "The image provider does not accept this service's key."
        case HTTPStatus.NOT_FOUND:
            return "The image provider does not know the model."
        case _ if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            return "The image provider is out of order."
        case _:
            return "The image provider does not accept the request."
