"""Verdicts: refusals and blocked accounts, apart from other failures. Pure.

One table over all dialects. Types and codes decide first; words decide only
where a vendor or a gateway gives no code. A blocked account quotes the content
policy as well, so its words come before those of a refusal.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from enum import StrEnum

from app.generation.transport.documents import parse_json


class VendorVerdict(StrEnum):
    """The vendor's judgement of the prompt, or of our account with it."""

    REFUSED = "refused"
    ACCOUNT_BLOCKED = "account_blocked"
    ACCOUNT_UNVERIFIED = "account_unverified"
    ACCOUNT_EMPTY = "account_empty"


def _codes(verdict: VendorVerdict, text: str) -> dict[str, VendorVerdict]:
    return dict.fromkeys(text.split(), verdict)


_BY_CODE: Mapping[str, VendorVerdict] = {
    # OpenAI and Azure; `contentFilter` is Azure's older spelling.
    **_codes(
        VendorVerdict.REFUSED,
        "moderation_blocked content_policy_violation content_filter contentfilter "
        "responsibleaipolicyviolation moderation_flagged content_filtered",
    ),
    # Google: https://ai.google.dev/api/generate-content#FinishReason. Every other
    # reason leaves a picture out without saying that the prompt is at fault.
    **_codes(
        VendorVerdict.REFUSED,
        "blocklist escalation image_prohibited_content image_recitation image_safety "
        "language model_armor prohibited_content recitation safety spii",
    ),
    # fal: models without a code of their own refuse with the last one.
    **_codes(VendorVerdict.REFUSED, "no_media_generated"),
    **_codes(
        VendorVerdict.ACCOUNT_BLOCKED,
        "account_deactivated access_terminated pup_limited_disabled",
    ),
    # Waiting does not fill an account, so these 429s are no rate limits.
    **_codes(
        VendorVerdict.ACCOUNT_EMPTY,
        "insufficient_quota billing_hard_limit_reached billing_not_active "
        "project_spend_limit_exceeded",
    ),
}

_UNVERIFIED = r"must be verified|verify (your )?organi[sz]ation"
_EMPTY = r"exhausted balance|insufficient (balance|credit)"
_BLOCKED = (
    r"(resource|account|user|organi[sz]ation)( \S+)? (is|was|has been) "
    r"(temporarily )?(blocked|suspended|deactivated|disabled|locked)"
)
# Not one word alone: "safety", "sensitive" and "nsfw" stand in names of programs.
_REFUSED = (
    r"safety system|content[ _](management )?policy|responsible ai\b"
    r"|(request|content) moderated|content moderation"
    r"|flagged (as|by|for) \w+|\bE005\b"
    r"|nsfw (content|image|concept)|potential nsfw"
    r"|\b(IMAGE_SAFETY|(IMAGE_)?PROHIBITED_CONTENT)\b"
)
_BY_WORDS = (
    (re.compile(_UNVERIFIED, re.IGNORECASE), VendorVerdict.ACCOUNT_UNVERIFIED),
    (re.compile(_EMPTY, re.IGNORECASE), VendorVerdict.ACCOUNT_EMPTY),
    (re.compile(_BLOCKED, re.IGNORECASE), VendorVerdict.ACCOUNT_BLOCKED),
    (re.compile(_REFUSED, re.IGNORECASE), VendorVerdict.REFUSED),
)

# Where the dialects say it; prompts and inputs, which answers repeat, lie elsewhere.
_CODE_KEYS = {"code", "type", "status", "error_type", "errorcode"}
_TEXT_KEYS = {"message", "msg", "detail", "error"}
_WAYS = {"error", "errors", "detail", "details", "innererror", "inner_error"}
_MAX_DEPTH = 5
_MAX_ENTRIES = 20


def verdict_of(
    document: object, headers: Mapping[str, str] | None = None
) -> VendorVerdict | None:
    """Return the verdict of an answer without a picture; None is another failure."""
    codes, texts = _codes_and_texts(document)
    if headers is not None:
        codes.append(headers.get("x-fal-error-type", ""))
    # Some servers give the code as the whole text.
    for code in (*codes, *texts):
        if (verdict := verdict_of_code(code)) is not None:
            return verdict
    return next(filter(None, map(verdict_of_text, texts)), None)


def verdict_of_code(code: object) -> VendorVerdict | None:
    """Return the verdict of a type, a code or a reason."""
    return _BY_CODE.get(code.lower()) if isinstance(code, str) else None


def verdict_of_text(text: str) -> VendorVerdict | None:
    """Return the verdict of a sentence."""
    for words, verdict in _BY_WORDS:
        if words.search(text):
            return verdict
    return None


def is_withheld(picture: object) -> bool:
    """Return whether a 200 keeps its picture back for what it shows (xAI)."""
    if not isinstance(picture, dict):
        return False
    return picture.get("respect_moderation") is False or bool(
        picture.get("block_reason")
    )


def _codes_and_texts(document: object) -> tuple[list[str], list[str]]:
    """Return the codes and the sentences of an error envelope, in order."""
    codes: list[str] = []
    texts: list[str] = []
    for key, value in _entries(document, _MAX_DEPTH):
        if key in _CODE_KEYS:
            codes.append(value)
        if key in _TEXT_KEYS:
            texts.append(value)
    return codes, texts


def _entries(document: object, depth: int, key: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(document, str):
        yield key, document
        # Gateways hand on what they got as a text.
        if depth and document.lstrip().startswith("{"):
            yield from _entries(parse_json(document.encode()), depth - 1)
    elif isinstance(document, list) and depth:
        for entry in document[:_MAX_ENTRIES]:
            yield from _entries(entry, depth - 1, key)
    elif isinstance(document, dict) and depth:
        for name, value in document.items():
            known = name.lower()
            if known in _WAYS or (
                isinstance(value, str) and known in _CODE_KEYS | _TEXT_KEYS
            ):
                yield from _entries(value, depth - 1, known)
