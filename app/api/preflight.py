"""Preflights: a browser asks before a page's script may (Fetch Standard, CORS)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import hdrs, web

from app.http.http_errors import MethodNotAllowed
from app.server.request_context import CORS

if TYPE_CHECKING:
    from aiohttp.typedefs import Handler


def preflight_of(methods: frozenset[str]) -> Handler:
    """Return the handler of OPTIONS for a path that has *methods*.

    A request without a browser's preflight headers gets 405, as for every
    method that the path lacks.
    """

    async def preflight(request: web.Request) -> web.Response:
        asks = (hdrs.ORIGIN, hdrs.ACCESS_CONTROL_REQUEST_METHOD)
        if not all(name in request.headers for name in asks):
            raise MethodNotAllowed(methods)
        allowed = request.app[CORS].preflight(request.headers)
        return web.Response(status=204, headers=dict(allowed.fields))

    return preflight
