"""Google's answers: pictures, refusals with status 200, and errors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from app.errors import BadImage, CallEnd
from app.generation.transport.documents import pick
from app.generation.transport.failures import account_failure, failure_of, refusal
from app.generation.transport.verdicts import VendorVerdict, verdict_of_code

if TYPE_CHECKING:
    from app.errors import GenerationError
    from app.generation.transport.vendor_api import Reply


def encoded_picture(document: object) -> str:
    """Return the base64 of the picture: the last that is no thought.

    Raises `PromptRejected` for a refusal, `BadImage` for any other answer
    without a picture.
    """
    candidate = pick(document, "candidates", 0)
    pictures = [
        data
        for part in _list(pick(candidate, "content", "parts"))
        if pick(part, "thought") is not True and (data := _inline_data(part))
    ]
    if pictures:
        return pictures[-1]
    verdict = verdict_of_code(_either(candidate, "finishReason", "finish_reason"))
    if verdict is VendorVerdict.REFUSED:
        raise refusal(CallEnd.BILLED)
    if verdict is not None:
        raise account_failure(verdict, CallEnd.BILLED)
    feedback = _either(document, "promptFeedback", "prompt_feedback")
    if _either(feedback, "blockReason", "block_reason"):
        # Blocked before the model saw it.
        raise refusal()
    raise BadImage("The image provider answered without a picture.")


def error_of(reply: Reply) -> GenerationError:
    """Return the error that a *reply* without success amounts to.

    Google wraps some errors in a list of one; a key that is wrong is a 400.
    """
    if isinstance(reply.document, list):
        reply = reply.with_document(pick(reply.document, 0))
    error = pick(reply.document, "error")
    message = pick(error, "message")
    return failure_of(
        reply,
        is_quota=_is_daily(error),
        is_key=isinstance(message, str) and "api key not valid" in message.lower(),
    )


def _is_daily(error: object) -> bool:
    """Return whether a daily quota is used up, which no short wait restores."""
    return any(
        "PerDay" in str(pick(violation, "quotaId"))
        for detail in _list(pick(error, "details"))
        for violation in _list(pick(detail, "violations"))
    )


def _inline_data(part: object) -> str | None:
    data = pick(_either(part, "inlineData", "inline_data"), "data")
    return data if isinstance(data, str) and data else None


def _either(document: object, *spellings: str) -> Any:
    """Return the value under a name in either of its spellings."""
    found = (pick(document, spelling) for spelling in spellings)
    return next((value for value in found if value is not None), None)


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []
