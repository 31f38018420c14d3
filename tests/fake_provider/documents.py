"""Modes that answer with a whole document, right or wrong."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

from aiohttp import web

from tests.fake_provider import pictures

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tests.fake_provider.behaviour import Behaviour
    from tests.fake_provider.provider import Call

    Mode = Callable[[web.Request, Call, Behaviour], Awaitable[web.StreamResponse]]

_HTML = "<html><body><h1>502 Bad Gateway</h1></body></html>"
_SVG = b'<svg xmlns="http://www.w3.org/2000/svg"/>'


def _paint(call: Call, behaviour: Behaviour) -> bytes:
    """Return the picture that belongs to *call*."""
    return pictures.paint(
        number=call.number,
        prompt=call.prompt,
        media_type=behaviour.media_type,
        size=behaviour.picture_size,
        at_least_bytes=behaviour.picture_bytes,
    )


def _envelope(picture: bytes) -> dict[str, Any]:
    """Return a success as OpenAI words it."""
    encoded = base64.b64encode(picture).decode()
    return {"created": 1, "data": [{"b64_json": encoded}], "usage": {"total_tokens": 9}}


def _json(document: Any, status: int = 200, **headers: str) -> web.Response:
    """Return *document* with a request id, as OpenAI does."""
    headers.setdefault("x-request-id", "req_fake")
    return web.json_response(document, status=status, headers=headers)


def _error(status: int, code: str | None, message: str, kind: str = "error") -> Mode:
    """Return a mode that answers with OpenAI's envelope of an error."""

    async def answer(
        _request: web.Request, _call: Call, behaviour: Behaviour
    ) -> web.StreamResponse:
        envelope = {"message": message, "type": kind, "param": None, "code": code}
        return _json({"error": envelope}, status, **behaviour.headers)

    return answer


def _document(make: Callable[[Call, Behaviour], Any]) -> Mode:
    """Return a mode that answers 200 with the JSON that *make* returns."""

    async def answer(
        _request: web.Request, call: Call, behaviour: Behaviour
    ) -> web.StreamResponse:
        return _json(make(call, behaviour))

    return answer


def _address(text: str) -> Mode:
    """Return a mode whose picture lies at *text*, with its origin and number in it."""

    async def answer(
        request: web.Request, call: Call, behaviour: Behaviour
    ) -> web.StreamResponse:
        call.picture = _paint(call, behaviour)
        url = text.format(origin=request.url.origin(), number=call.number)
        return _json({"created": 1, "data": [{"url": url}]})

    return answer


async def _given_error(
    request: web.Request, call: Call, behaviour: Behaviour
) -> web.StreamResponse:
    """Answer with the status, the headers and the JSON that the test gave."""
    return _json(behaviour.body, behaviour.status, **behaviour.headers)


async def _bad_gateway(
    request: web.Request, call: Call, behaviour: Behaviour
) -> web.StreamResponse:
    """Answer like a proxy whose upstream is gone."""
    return web.Response(status=502, text=_HTML, content_type="text/html")


async def _html(
    request: web.Request, call: Call, behaviour: Behaviour
) -> web.StreamResponse:
    """Answer 200 with a page, as captive portals do."""
    return web.Response(text=_HTML, content_type="text/html")


async def _truncated_json(
    request: web.Request, call: Call, behaviour: Behaviour
) -> web.StreamResponse:
    """Answer with half a document whose length is that of the half."""
    return web.Response(text='{"data": [{"b64_', content_type="application/json")


DOCUMENTS: dict[str, Mode] = {
    "ok": _document(lambda call, behaviour: _envelope(_paint(call, behaviour))),
    "rate_limited": _error(429, "rate_limit_exceeded", "Slow down.", "requests"),
    "quota": _error(429, "insufficient_quota", "You exceeded your current quota."),
    "server_error": _error(500, "server_error", "Something broke."),
    "unavailable": _error(503, "overloaded", "Overloaded."),
    "unauthenticated": _error(401, "invalid_api_key", "Incorrect API key: sk-fake."),
    "moderation": _error(400, "moderation_blocked", "Rejected by the safety system."),
    "array": _document(lambda call, behaviour: []),
    "null": _document(lambda call, behaviour: None),
    "text": _document(lambda call, behaviour: "x"),
    "missing_data": _document(lambda call, behaviour: {"created": 1}),
    "empty_data": _document(lambda call, behaviour: {"created": 1, "data": []}),
    "null_picture": _document(lambda call, behaviour: {"data": [{"b64_json": None}]}),
    "given": _document(lambda call, behaviour: behaviour.body),
    "base64_garbage": _document(
        lambda call, behaviour: {"data": [{"b64_json": "!!!! no base64 !!!!"}]}
    ),
    "base64_html": _document(lambda call, behaviour: _envelope(_HTML.encode())),
    "base64_svg": _document(lambda call, behaviour: _envelope(_SVG)),
    "base64_empty": _document(lambda call, behaviour: _envelope(b"")),
    "base64_broken_png": _document(
        lambda call, behaviour: _envelope(pictures.broken_png())
    ),
    "base64_enormous_png": _document(
        lambda call, behaviour: _envelope(pictures.enormous_png())
    ),
    "url_absolute": _address("{origin}/results/{number}.png"),
    "url_relative": _address("/results/{number}.png"),
    "url_foreign": _address("https://pictures.invalid/{number}.png"),
    "url_redirect": _address("{origin}/redirects/{number}.png"),
    "url_missing": _address("{origin}/results/missing.png"),
    "error": _given_error,
    "bad_gateway": _bad_gateway,
    "html": _html,
    "truncated_json": _truncated_json,
}
