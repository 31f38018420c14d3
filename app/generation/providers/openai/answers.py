"""Answers in the OpenAI images dialect that hold no picture, and what they mean.

Three shapes of envelope are about: `{"error": {"code", "type", "message"}}`,
`{"error": "text"}` (stable-diffusion.cpp) and `{"detail": text or list}`
(FastAPI: vLLM-Omni, SGLang).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from app.generation.transport.documents import pick
from app.generation.transport.failures import failure_of, refusal

if TYPE_CHECKING:
    from app.errors import GenerationError
    from app.generation.transport.vendor_api import Reply

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


def is_refusal(document: object) -> bool:
    """Say whether an error envelope refuses the prompt or the references."""
    error, detail = pick(document, "error"), pick(document, "detail")
    codes = (pick(error, "code"), pick(error, "type"), pick(detail, 0, "type"), error)
    if any(isinstance(code, str) and code in _REFUSALS for code in codes):
        return True
    texts = (pick(error, "message"), error, detail, pick(detail, 0, "msg"))
    return any(
        sign in text.lower()
        for text in texts
        if isinstance(text, str)
        for sign in _REFUSAL_TEXTS
    )


def error_of(reply: Reply) -> GenerationError:
    """Return the error that a *reply* without success amounts to."""
    if 400 <= reply.status < 500 and is_refusal(reply.document):  # noqa: PLR2004 - RFC 9110 15.5
        return refusal()
    error = pick(reply.document, "error")
    codes = (pick(error, "code"), pick(error, "type"))
    return failure_of(
        reply, is_quota=any(isinstance(code, str) and code in _QUOTA for code in codes)
    )
