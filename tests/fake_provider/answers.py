"""Answers that all dialects share, right and wrong ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aiohttp import web

from tests.fake_provider import pictures

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tests.fake_provider.behaviour import Behaviour
    from tests.fake_provider.records import Call

    Mode = Callable[[web.Request, Call, Behaviour], Awaitable[web.StreamResponse]]
    Brush = Callable[[Call, Behaviour], bytes]

HTML = "<html><body><h1>502 Bad Gateway</h1></body></html>"
_SVG = b'<svg xmlns="http://www.w3.org/2000/svg"/>'


def paint(call: Call, behaviour: Behaviour) -> bytes:
    """Make the picture that belongs to *call*."""
    call.picture = pictures.paint(
        number=call.number,
        prompt=call.prompt,
        media_type=behaviour.media_type,
        size=behaviour.picture_size,
        at_least_bytes=behaviour.picture_bytes,
    )
    return call.picture


def _paint_jpeg(call: Call, behaviour: Behaviour) -> bytes:
    """Return a JPEG, whatever media type its dialect claims."""
    return pictures.paint(
        number=call.number, prompt=call.prompt, media_type="image/jpeg"
    )


# The kinds of pictures, by mode.
BRUSHES: dict[str, Brush] = {
    "ok": paint,
    "picture_jpeg": _paint_jpeg,
    "picture_html": lambda call, behaviour: HTML.encode(),
    "picture_svg": lambda call, behaviour: _SVG,
    "picture_empty": lambda call, behaviour: b"",
    "picture_broken_png": lambda call, behaviour: pictures.broken_png(),
    "picture_enormous_png": lambda call, behaviour: pictures.enormous_png(),
}


def json_answer(document: Any, status: int = 200, **headers: str) -> web.Response:
    """Return *document* with a request id, as vendors do."""
    headers.setdefault("x-request-id", "req_fake")
    return web.json_response(document, status=status, headers=headers)


def error(status: int, document: Any, **headers: str) -> Mode:
    """Return a mode that answers with *document* and the headers of the behaviour."""

    async def answer(
        _request: web.Request, _call: Call, behaviour: Behaviour
    ) -> web.StreamResponse:
        return json_answer(document, status, **(headers | behaviour.headers))

    return answer


def document(make: Callable[[Call, Behaviour], Any]) -> Mode:
    """Return a mode that answers 200 with the JSON that *make* returns."""

    async def answer(
        _request: web.Request, call: Call, behaviour: Behaviour
    ) -> web.StreamResponse:
        return json_answer(make(call, behaviour))

    return answer


async def _given_error(
    request: web.Request, call: Call, behaviour: Behaviour
) -> web.StreamResponse:
    """Answer with the status, the headers and the JSON that the test gave."""
    return json_answer(behaviour.body, behaviour.status, **behaviour.headers)


async def _bad_gateway(
    request: web.Request, call: Call, behaviour: Behaviour
) -> web.StreamResponse:
    """Answer like a proxy whose upstream is gone."""
    return web.Response(status=502, text=HTML, content_type="text/html")


async def _gateway_timeout(
    request: web.Request, call: Call, behaviour: Behaviour
) -> web.StreamResponse:
    """Answer like a proxy whose upstream was too slow."""
    return web.Response(status=504)


async def _html(
    request: web.Request, call: Call, behaviour: Behaviour
) -> web.StreamResponse:
    """Answer 200 with an HTML page, as captive portals do."""
    return web.Response(text=HTML, content_type="text/html")


async def _truncated_json(
    request: web.Request, call: Call, behaviour: Behaviour
) -> web.StreamResponse:
    """Answer with half a document and the length of that half."""
    return web.Response(text='{"data": [{"b64_', content_type="application/json")


async def _truncated_error(
    request: web.Request, call: Call, behaviour: Behaviour
) -> web.StreamResponse:
    """Answer with half of an error."""
    return web.Response(status=500, text='{"err', content_type="application/json")


ANSWERS: dict[str, Mode] = {
    "array": document(lambda call, behaviour: []),
    "null": document(lambda call, behaviour: None),
    "text": document(lambda call, behaviour: "x"),
    "given": document(lambda call, behaviour: behaviour.body),
    "error": _given_error,
    "missing": error(404, {"detail": "Not found."}),
    "gone": error(410, {"detail": "Gone."}),
    "overloaded": error(503, {"detail": "Come back later."}),
    "bad_gateway": _bad_gateway,
    "gateway_timeout": _gateway_timeout,
    "html": _html,
    "truncated_json": _truncated_json,
    "truncated_error": _truncated_error,
}
