"""Google's generateContent: refusals come as 200, retry hints in the body."""

from __future__ import annotations

import base64
import re
from typing import TYPE_CHECKING, Any

from aiohttp import web

from tests.fake_provider import pictures
from tests.fake_provider.answers import (
    BRUSHES,
    HTML,
    document,
    error,
    json_answer,
    paint,
)
from tests.fake_provider.dialects.dialect import Dialect, pick

if TYPE_CHECKING:
    from tests.fake_provider.answers import Brush, Mode
    from tests.fake_provider.behaviour import Behaviour
    from tests.fake_provider.records import Call

_RPC = "type.googleapis.com/google.rpc"


def _inline(data: bytes, media_type: str = "image/png") -> dict[str, Any]:
    """Return a part that is a picture."""
    encoded = base64.b64encode(data).decode()
    return {"inlineData": {"mimeType": media_type, "data": encoded}}


def _candidate(*parts: Any, reason: str = "STOP") -> dict[str, Any]:
    """Return a success as Google words it."""
    content = {"role": "model", "parts": list(parts)}
    return {
        "candidates": [{"content": content, "finishReason": reason, "index": 0}],
        "usageMetadata": {"promptTokenCount": 8, "totalTokenCount": 1298},
        "modelVersion": "fake-image-001",
        "responseId": "resp_fake",
    }


def _blocked(reason: str) -> dict[str, Any]:
    """Return a blocked candidate, which has no content."""
    candidate = {"finishReason": reason, "finishMessage": "Not shown.", "index": 0}
    return {"candidates": [candidate], "responseId": "resp_fake"}


def _failed(code: int, status: str, message: str, *details: Any) -> dict[str, Any]:
    """Return Google's envelope of an error."""
    document = {"code": code, "message": message, "status": status}
    return {"error": document | ({"details": list(details)} if details else {})}


def _thoughts(call: Call, behaviour: Behaviour) -> Any:
    """Return thoughts and a sketch before the picture."""
    sketch = pictures.paint(number=0, prompt="a sketch")
    return _candidate(
        {"text": "First the sea.", "thought": True},
        _inline(sketch) | {"thought": True, "thoughtSignature": "c2lnbg=="},
        {"text": "Here it is."},
        _inline(paint(call, behaviour), "image/jpeg") | {"thoughtSignature": "eA=="},
    )


def _snake_case(call: Call, behaviour: Behaviour) -> Any:
    """Spell the keys as Google's SDK does."""
    encoded = base64.b64encode(paint(call, behaviour)).decode()
    inline = {"mime_type": "image/png", "data": encoded}
    return {
        "candidates": [
            {"content": {"parts": [{"inline_data": inline}]}, "finish_reason": "STOP"}
        ]
    }


def _brushed(brush: Brush) -> Mode:
    """Return a mode whose picture is made by *brush*."""
    return document(lambda call, behaviour: _candidate(_inline(brush(call, behaviour))))


def _encoded(text: str) -> Mode:
    """Return a mode whose picture is *text*."""
    return document(
        lambda call, behaviour: _candidate(
            {"inlineData": {"mimeType": "image/png", "data": text}}
        )
    )


def _read(call: Call) -> None:
    """Read texts as the prompt and inline data as pictures, in both spellings."""
    texts = []
    for part in pick(call.body, "contents", 0, "parts") or []:
        inline = part.get("inlineData") or part.get("inline_data")
        if inline:
            media_type = inline.get("mimeType") or inline.get("mime_type")
            # Google's SDK writes the other alphabet.
            data = re.sub("-", "+", re.sub("_", "/", inline["data"]))
            call.files.append(
                {"data": base64.b64decode(data), "content_type": media_type}
            )
        elif "text" in part:
            texts.append(part["text"])
    call.prompt = " ".join(texts)


async def _model(request: web.Request) -> web.Response:
    """Answer with a model's description; this is free of cost."""
    name = f"models/{request.match_info['model']}"
    return json_answer({"name": name, "displayName": "Fake", "version": "001"})


_EXHAUSTED = "You exceeded your current quota."
_REFUSALS = {
    "moderation": "IMAGE_SAFETY",
    "recitation": "IMAGE_RECITATION",
    "prohibited": "PROHIBITED_CONTENT",
}
DIALECT = Dialect(
    name="gemini",
    base_path="/v1beta",
    example="gemini-3.1-flash-image",
    paths=(
        "/v1beta/models/{model:[^:]+}:generateContent",
        "/v1/models/{model:[^:]+}:generateContent",
    ),
    read=_read,
    others=(web.get("/v1beta/models/{model}", _model),),
    own_modes={name: _brushed(brush) for name, brush in BRUSHES.items()}
    | {
        name: document(lambda call, behaviour, reason=reason: _blocked(reason))  # type: ignore[misc]
        for name, reason in _REFUSALS.items()
    }
    | {
        "thoughts": document(_thoughts),
        "snake_case": document(_snake_case),
        "base64_garbage": _encoded("!!!! no base64 !!!!"),
        "base64_padding": _encoded("AAAAA"),
        "base64_html": _encoded(HTML),
        "prompt_blocked": document(
            lambda call, behaviour: {"promptFeedback": {"blockReason": "SAFETY"}}
        ),
        "no_image": document(
            lambda call, behaviour: _candidate(
                {"text": "I would rather not."}, reason="NO_IMAGE"
            )
        ),
        "text_only": document(
            lambda call, behaviour: _candidate({"text": "A lighthouse is a tower."})
        ),
        "missing_data": document(lambda call, behaviour: {"candidates": [{}]}),
        "empty_data": document(lambda call, behaviour: {"candidates": []}),
        "rate_limited": error(429, _failed(429, "RESOURCE_EXHAUSTED", _EXHAUSTED)),
        "rate_limited_in_body": error(
            429,
            _failed(
                429,
                "RESOURCE_EXHAUSTED",
                _EXHAUSTED,
                {"@type": f"{_RPC}.RetryInfo", "retryDelay": "31s"},
            ),
        ),
        "quota": error(
            429,
            _failed(
                429,
                "RESOURCE_EXHAUSTED",
                _EXHAUSTED,
                {
                    "@type": f"{_RPC}.QuotaFailure",
                    "violations": [
                        {"quotaId": "GenerateRequestsPerDayPerProjectPerModel"}
                    ],
                },
                {"@type": f"{_RPC}.RetryInfo", "retryDelay": "31s"},
            ),
        ),
        "server_error": error(500, _failed(500, "INTERNAL", "Internal error.")),
        "error_in_list": error(500, [_failed(500, "INTERNAL", "Internal error.")]),
        "unavailable": error(503, _failed(503, "UNAVAILABLE", "Overloaded.")),
        "deadline": error(504, _failed(504, "DEADLINE_EXCEEDED", "Too slow.")),
        "unauthenticated": error(401, _failed(401, "UNAUTHENTICATED", "Who?")),
        "forbidden": error(403, _failed(403, "PERMISSION_DENIED", "No.")),
        "bad_key": error(
            400, _failed(400, "INVALID_ARGUMENT", "API key not valid: AIza-fake.")
        ),
        "not_found": error(404, _failed(404, "NOT_FOUND", "No such model.")),
        "bad_request": error(400, _failed(400, "INVALID_ARGUMENT", "Bad size.")),
    },
)
