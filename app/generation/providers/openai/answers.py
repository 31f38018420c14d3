"""Answers in the OpenAI images dialect that hold no picture, and what they mean.

Three shapes of envelope are about: `{"error": {"code", "type", "message"}}`,
`{"error": "text"}` (stable-diffusion.cpp) and `{"detail": text or list}`
(FastAPI: vLLM-Omni, SGLang).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from app.errors import BadImage, CallEnd
from app.generation.transport.documents import pick
from app.generation.transport.failures import account_failure, refusal
from app.generation.transport.verdicts import VendorVerdict, is_withheld, verdict_of

if TYPE_CHECKING:
    from app.errors import GenerationError


def without_picture(document: object) -> GenerationError | None:
    """Return why an answer of 200 has no picture to give, None where it has one."""
    picture = pick(document, "data", 0)
    if is_withheld(document) or is_withheld(picture):
        return refusal(CallEnd.BILLED)
    if pick(picture, "b64_json") or pick(picture, "url"):
        return None
    match verdict_of(document):
        case None:
            return BadImage("The image provider answered without a picture.")
        case VendorVerdict.REFUSED:
            return refusal(CallEnd.BILLED)
        case verdict:
            return account_failure(verdict, CallEnd.BILLED)
