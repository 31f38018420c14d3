"""Plain paths are found by one look-up, with the result of aiohttp's router."""

from __future__ import annotations

import pytest
from aiohttp import web

from app.errors import NotFound
from app.server.request_context import route_of
from app.server.routing import by_plain_path
from tests.server.frame import framed, get, wire


async def describe(request: web.Request) -> web.Response:
    """Answer with the handler's view of its route."""
    match = request.match_info
    said = [route_of(request), str(dict(match)), str(request.app is match.current_app)]
    return web.Response(text=" ".join([*said, request.query_string]))


async def refuse(_: web.Request) -> web.Response:
    """Raise an error of the service."""
    raise NotFound("There is nothing.")


ROUTES = (
    web.get("/lamp", describe, allow_head=False),
    web.get("/lamp/{name}", describe, allow_head=False),
    web.get("/dark", refuse, allow_head=False),
)


@pytest.mark.parametrize(
    "target", ["/lamp", "/lamp?colour=red", "/%6camp", "/lamp/", "/lamp/red", "/dark"]
)
@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("expectation", [(), ("Expect: 100-continue",)])
async def test_a_handler_sees_what_aiohttp_would_show_it(
    monkeypatch: pytest.MonkeyPatch,
    target: str,
    method: str,
    expectation: tuple[str, ...],
) -> None:
    """A handler sees the same route and parameters as with aiohttp's router."""
    asked = get(target, "X-Request-Id: storm-1", *expectation, method=method)
    async with framed(*ROUTES) as frame, wire(frame.port) as client:
        ours = await client.ask(asked)
    monkeypatch.setattr("app.server.listener.by_plain_path", lambda _, handler: handler)
    async with framed(*ROUTES) as frame, wire(frame.port) as client:
        theirs = await client.ask(asked)

    for one in (ours, theirs):
        one.headers.pop("date", None)
    assert ours == theirs


def test_what_has_middlewares_is_left_to_aiohttp() -> None:
    """An application with middlewares is refused."""

    @web.middleware
    async def doubt(request: web.Request, handler: object) -> web.Response:
        raise NotImplementedError

    app = web.Application(middlewares=[doubt])

    with pytest.raises(ValueError, match="middlewares"):
        by_plain_path(app, describe)
