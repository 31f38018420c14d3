"""OpenAI's images, with the errors of other servers that speak its dialect."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

from aiohttp import web

from tests.fake_provider.answers import BRUSHES, document, error, json_answer, paint
from tests.fake_provider.dialects.dialect import Dialect

if TYPE_CHECKING:
    from tests.fake_provider.answers import Brush, Mode
    from tests.fake_provider.behaviour import Behaviour
    from tests.fake_provider.records import Call


def _envelope(picture: bytes) -> dict[str, Any]:
    """Return a success as OpenAI words it."""
    encoded = base64.b64encode(picture).decode()
    usage = {
        "input_tokens": 4,
        "output_tokens": 5,
        "total_tokens": 9,
        "input_tokens_details": {"image_tokens": 0, "text_tokens": 4},
    }
    return {"created": 1, "data": [{"b64_json": encoded}], "usage": usage}


def _refused(
    status: int, code: str | None, message: str, kind: str = "error", **headers: str
) -> Mode:
    """Return a mode that answers with OpenAI's envelope of an error."""
    envelope = {"message": message, "type": kind, "param": None, "code": code}
    return error(status, {"error": envelope}, **headers)


def _brushed(brush: Brush) -> Mode:
    """Return a mode whose picture is made by *brush*."""
    return document(lambda call, behaviour: _envelope(brush(call, behaviour)))


def _encoded(encode: str) -> Mode:
    """Return a mode that spells a picture's base64 in its own way."""

    def make(call: Call, behaviour: Behaviour) -> Any:
        data = paint(call, behaviour)
        spelled = {
            "lines": base64.encodebytes(data).decode(),
            "prefix": "data:image/png;base64," + base64.b64encode(data).decode(),
            "urlsafe": base64.urlsafe_b64encode(data).decode(),
            "padding": "AAAAA",
            "garbage": "!!!! no base64 !!!!",
        }[encode]
        return {"data": [{"b64_json": spelled}]}

    return document(make)


def _address(text: str) -> Mode:
    """Return a mode that answers with the picture's address.

    *text* has places for its origin and number.
    """

    async def answer(
        request: web.Request, call: Call, behaviour: Behaviour
    ) -> web.StreamResponse:
        call.picture = paint(call, behaviour)
        origin = behaviour.results_at or str(request.url.origin())
        url = text.format(origin=origin, number=call.number)
        return json_answer({"created": 1, "data": [{"url": url}]})

    return answer


def _read(call: Call) -> None:
    """Read the prompt from its field; pictures came as files."""
    call.prompt = str(call.body.get("prompt", ""))


async def _model(request: web.Request) -> web.Response:
    """Answer with a model's description; this is free of cost."""
    model = {"id": request.match_info["model"], "object": "model"}
    return json_answer(model | {"created": 1, "owned_by": "fake"})


DIALECT = Dialect(
    name="openai",
    base_path="/v1",
    example="gpt-image-2",
    paths=("/v1/images/generations", "/v1/images/edits"),
    read=_read,
    others=(web.get("/v1/models/{model}", _model),),
    own_modes={name: _brushed(brush) for name, brush in BRUSHES.items()}
    | {
        f"base64_{name}": _encoded(name)
        for name in ("lines", "prefix", "urlsafe", "padding", "garbage")
    }
    | {
        "rate_limited": _refused(429, "rate_limit_exceeded", "Slow down.", "requests"),
        "quota": _refused(429, "insufficient_quota", "You exceeded your quota."),
        "spend_limit": _refused(429, "project_spend_limit_exceeded", "Enough."),
        "server_error": _refused(500, "server_error", "Something broke."),
        "unavailable": _refused(503, "overloaded", "Overloaded."),
        "unauthenticated": _refused(401, "invalid_api_key", "Incorrect key: sk-fake."),
        "forbidden": _refused(403, None, "Your organization must be verified."),
        "not_found": _refused(404, "model_not_found", "No such model."),
        "bad_request": _refused(400, "invalid_value", "Invalid size."),
        "moderation": _refused(
            400, "moderation_blocked", "Rejected by the safety system."
        ),
        "content_policy": _refused(400, "content_policy_violation", "No."),
        "missing_data": document(lambda call, behaviour: {"created": 1}),
        "empty_data": document(lambda call, behaviour: {"created": 1, "data": []}),
        "null_picture": document(
            lambda call, behaviour: {"data": [{"b64_json": None}]}
        ),
        "url_absolute": _address("{origin}/results/{number}.png"),
        "url_relative": _address("/results/{number}.png"),
        "url_foreign": _address("https://pictures.invalid/{number}.png"),
        "url_metadata": _address("http://169.254.169.254/latest/{number}.png"),
        "url_redirect": _address("{origin}/redirects/{number}.png"),
        "url_missing": _address("{origin}/results/missing.png"),
        "url_forbidden": _address("{origin}/expired/{number}.png"),
    },
)
