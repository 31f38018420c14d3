"""Routes without parameters in their path, found by one look-up.

aiohttp asks each candidate resource in a coroutine of its own and makes a new
match for each request: for a path that is a plain text neither has to be. All
else, and whatever is unusual about a request, goes aiohttp's way. Written for
aiohttp 3.14; the names with an underscore are its own, and a test compares
both ways.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aiohttp import hdrs
from aiohttp.web_urldispatcher import PlainResource, UrlMappingMatchInfo

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from aiohttp import web

    _Handler = Callable[[Any], Awaitable[web.StreamResponse]]


def by_plain_path(app: web.Application, handler: _Handler) -> _Handler:
    """Return *handler*, which is *app* with its router, behind the look-up.

    Raises `ValueError` for an application with middlewares.
    """
    if app.middlewares:
        raise ValueError("An application with middlewares needs aiohttp's own way.")
    matches = _matches(app)

    async def route(request: web.Request) -> web.StreamResponse:
        match = matches.get((request.method, request.raw_path.partition("?")[0]))
        if match is None or hdrs.EXPECT in request.headers:
            return await handler(request)
        # Nothing in it is one request's own, so that all may share it.
        request._match_info = match  # noqa: SLF001 - aiohttp gives no other way
        return await match.handler(request)

    return route


def _matches(app: web.Application) -> dict[tuple[str, str], UrlMappingMatchInfo]:
    matches: dict[tuple[str, str], UrlMappingMatchInfo] = {}
    for resource in app.router.resources():
        if isinstance(resource, PlainResource):
            for route in resource:
                match = UrlMappingMatchInfo({}, route)
                match.add_app(app)
                match.freeze()
                matches.setdefault((route.method, resource.canonical), match)
    return matches
