"""Around every handler: the request id, the problem document, the count.

`install` is all that an application calls; `listening` puts `framed` around
its router. What the HTTP parser refuses never comes here: `connection`
answers it.
"""

from __future__ import annotations

from time import perf_counter
from typing import TYPE_CHECKING, Any

from aiohttp import hdrs, web

from app.http.body_budget import BODY_BUDGET, BodyBudget
from app.http.cors import Cors
from app.http.problems import SERVER
from app.server.bodies import BodyCut
from app.server.failed_requests import FIRST_SERVER_ERROR, answer_of, log_failure
from app.server.lifecycle import LIFECYCLE, Lifecycle
from app.server.request_context import (
    CORS,
    MORE_HEADERS,
    NO_HEADERS,
    X_REQUEST_ID,
    request_id_of,
    route_of,
)
from app.telemetry import REQUEST_ID, Metrics
from app.telemetry.tracing import Tracing
from app.urls import READ_ACROSS_ORIGINS

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    # It takes a `web.Request`; aiohttp types what its server passes as less.
    _Handler = Callable[[Any], Awaitable[web.StreamResponse]]

METRICS = web.AppKey("metrics", Metrics)

# Where requests are traced.
TRACING = web.AppKey("tracing", Tracing)

_ANY_ORIGIN = Cors()

# The status that nginx logs for a client that disconnected before its answer.
CLIENT_GONE = 499


def install(
    app: web.Application,
    *,
    metrics: Metrics,
    lifecycle: Lifecycle,
    cors: Cors = _ANY_ORIGIN,
) -> None:
    """Give *app* what the frame needs, and the headers that all answers have."""
    app[METRICS] = metrics
    app[LIFECYCLE] = lifecycle
    app[CORS] = cors
    app[BODY_BUDGET] = BodyBudget()
    app.on_response_prepare.append(_last_headers(lifecycle, cors))


def framed(app: web.Application, handler: _Handler) -> _Handler:
    """Return *handler*, the whole of *app* with its router, inside the frame.

    aiohttp's own middlewares stand between the router and a route, and each
    adds two calls to every request.
    """
    metrics, lifecycle = app[METRICS], app[LIFECYCLE]

    async def frame(request: web.Request) -> web.StreamResponse:
        began = perf_counter()
        # Every request has a task and with it a context of its own.
        REQUEST_ID.set(request_id_of(request))
        lifecycle.request_began()
        status = CLIENT_GONE
        try:
            try:
                response = await handler(request)
            except BodyCut:
                raise
            except Exception as error:  # noqa: BLE001 - whatever it is, it is answered
                response = answer_of(request, error)
            else:
                if response.status >= FIRST_SERVER_ERROR:
                    log_failure(request, response.status)
            status = response.status
        except BodyCut as error:
            metrics.cut_body("short")
            status = error.status
            raise
        finally:
            lifecycle.request_ended()
            seconds = perf_counter() - began
            metrics.request(route_of(request), request.method, status, seconds)
        return response

    return frame


def traced(app: web.Application, handler: _Handler) -> _Handler:
    """Return *handler* with a span of each request, where they are traced."""
    if TRACING not in app:
        return handler
    return app[TRACING].handler(
        handler, route_of=route_of, status_of=lambda response: response.status
    )


def _last_headers(
    lifecycle: Lifecycle, cors: Cors
) -> Callable[[web.Request, web.StreamResponse], Awaitable[None]]:
    async def last_headers(request: web.Request, response: web.StreamResponse) -> None:
        headers = response.headers
        headers[hdrs.SERVER] = SERVER
        if X_REQUEST_ID not in headers:
            headers[X_REQUEST_ID] = REQUEST_ID.get() or request_id_of(request)
        headers.update(request.get(MORE_HEADERS, NO_HEADERS))
        if route_of(request) in READ_ACROSS_ORIGINS:
            for name, value in cors.part(request.headers).fields.items():
                headers.add(name, value)
        if lifecycle.draining:
            # A balancer's idle connections move to other replicas one by one,
            # each after an answer, so that none is cut under a request.
            response.force_close()
            headers[hdrs.CONNECTION] = "close"

    return last_headers
