"""Around every handler: the request id, the problem document, the count.

`install` is all that an application calls; `listening` puts `framed` around
its router. What the HTTP parser refuses never comes here: `connection`
answers it.
"""

from __future__ import annotations

import logging
import re
import secrets
from itertools import count
from time import perf_counter
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from aiohttp import hdrs, web
from multidict import istr

from app import urls
from app.errors import ServiceError
from app.http.body_budget import BODY_BUDGET, BodyBudget
from app.http.cors import Cors
from app.http.error_pictures import asks_for_a_picture, picture_of
from app.http.openai_errors import envelope_response
from app.http.picture_headers import LIVE_VARY, lines
from app.http.problems import (
    INTERNAL,
    SERVER,
    as_service_error,
    problem_response,
    row_for,
)
from app.server.bodies import BodyCut, cut
from app.server.lifecycle import LIFECYCLE, Lifecycle
from app.server.raw_answers import READY_STATUSES, RawAnswer, may_be_raw
from app.telemetry import REQUEST_ID, Metrics
from app.telemetry.series import UNMATCHED
from app.telemetry.tracing import Tracing

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    # It takes a `web.Request`; aiohttp types what its server passes as less.
    _Handler = Callable[[Any], Awaitable[web.StreamResponse]]

logger = logging.getLogger(__name__)

METRICS = web.AppKey("metrics", Metrics)

# Where requests are traced.
TRACING = web.AppKey("tracing", Tracing)

# A handler's own headers that are to stand on an error of its request, too.
ERROR_HEADERS = web.RequestKey("error_headers", dict[str, str])

# Whether an error of the request is to be answered as a picture.
ERROR_AS_PICTURE = web.RequestKey("error_as_picture", bool)


# Further headers of every answer to the request, an error as well.
MORE_HEADERS = web.RequestKey("more_headers", dict[str, str])

CORS = web.AppKey("cors", Cors)
_ANY_ORIGIN = Cors()

# The status that nginx logs for a client that disconnected before its answer.
CLIENT_GONE = 499
_FIRST_SERVER_ERROR = 500

_X_REQUEST_ID = istr("X-Request-Id")
_REQUEST_ID_FORM = re.compile(r"[A-Za-z0-9._-]{1,128}")

_LIVE_ERRORS: Mapping[str, str] = MappingProxyType({"Vary": LIVE_VARY})
_NONE: Mapping[str, str] = MappingProxyType({})
_OF_EVERY_READY_ANSWER = frozenset(
    {hdrs.SERVER, hdrs.DATE, _X_REQUEST_ID, hdrs.CONTENT_LENGTH}
)

# Unique without asking the kernel for entropy at every request.
_process = secrets.token_hex(8)
_numbers = count(1)


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


def more_lines(request: web.Request) -> bytes:
    """Return as lines what a raw answer with a picture has from its request."""
    own = request.app[CORS].part(request.headers).lines
    more = request.get(MORE_HEADERS)
    return own + lines(more) if more else own


def new_request_id() -> str:
    """Return an id that no other request of any replica has."""
    return f"{_process}-{next(_numbers):x}"


def request_id_of(request: web.BaseRequest) -> str:
    """Return the request's own id where it is well-formed, else a new one."""
    own = request.headers.get(_X_REQUEST_ID)
    if own is not None and _REQUEST_ID_FORM.fullmatch(own):
        return own
    return new_request_id()


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
                response = _problem(request, error)
            else:
                if response.status >= _FIRST_SERVER_ERROR:
                    _log_failure(request, response.status)
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


def route_of(request: web.Request) -> str:
    """Return the template of the route that matched, else `unmatched`."""
    resource = request.match_info.route.resource
    return UNMATCHED if resource is None else resource.canonical


def _problem(request: web.Request, error: Exception) -> web.StreamResponse:
    """Return the problem that *error* is; raise where no client could read it."""
    transport = request.transport
    if transport is None or transport.is_closing():
        if isinstance(error, ServiceError):
            # The client has gone: what it would have read is no failure of ours.
            raise ConnectionResetError from error
        raise error
    if request.writer.output_size > 0:
        _log_failure(request, INTERNAL.status, error)
        raise cut(request) from error
    refusal = as_service_error(error)
    row = row_for(refusal)
    if row.status >= _FIRST_SERVER_ERROR:
        _log_failure(request, row.status, refusal)
    live = _LIVE_ERRORS if request.path == urls.LIVE else _NONE
    respond = envelope_response if urls.is_openai(request.path) else problem_response
    response = respond(
        refusal,
        REQUEST_ID.get() or new_request_id(),
        headers=request.get(ERROR_HEADERS, live),
    )
    if urls.is_live(request.path) and (
        request.get(ERROR_AS_PICTURE)
        or asks_for_a_picture(request.raw_path.partition("?")[2])
    ):
        response = picture_of(response, row)
    elif response.status in READY_STATUSES and may_be_raw(request):
        return _ready(request, response)
    if isinstance(error, web.RequestPayloadError):
        # What follows on this connection can't be distinguished from the body.
        response.force_close()
    return response


def _ready(request: web.Request, response: web.Response) -> web.StreamResponse:
    """Return *response*, a refusal, so that it is sent in one write.

    Strangers may ask for more refusals than customers ask for pictures.
    """
    if request.app[LIFECYCLE].draining or not isinstance(response.body, bytes):
        return response
    fields = {
        name: value
        for name, value in response.headers.items()
        if name not in _OF_EVERY_READY_ANSWER
    }
    fields[hdrs.CONTENT_LENGTH] = str(len(response.body))
    fields.update(request.get(MORE_HEADERS, _NONE))
    head = lines(fields)
    if route_of(request) in urls.READ_ACROSS_ORIGINS:
        head += request.app[CORS].part(request.headers).lines
    return RawAnswer(response.status, head, response.body)


def _log_failure(
    request: web.Request, status: int, error: BaseException | None = None
) -> None:
    fields: dict[str, object] = {
        "status": status,
        "method": request.method,
        "route": route_of(request),
    }
    if error is None:
        logger.warning("request failed", extra=fields)
        return
    row = row_for(error)
    fields["code"] = row.code
    if row is INTERNAL:
        logger.error("request failed", extra=fields, exc_info=error)
        return
    if error.__cause__ is not None:
        fields["cause"] = type(error.__cause__).__qualname__
    logger.warning("request failed", extra=fields)


def _last_headers(
    lifecycle: Lifecycle, cors: Cors
) -> Callable[[web.Request, web.StreamResponse], Awaitable[None]]:
    async def last_headers(request: web.Request, response: web.StreamResponse) -> None:
        headers = response.headers
        headers[hdrs.SERVER] = SERVER
        if _X_REQUEST_ID not in headers:
            headers[_X_REQUEST_ID] = REQUEST_ID.get() or request_id_of(request)
        headers.update(request.get(MORE_HEADERS, _NONE))
        if route_of(request) in urls.READ_ACROSS_ORIGINS:
            for name, value in cors.part(request.headers).fields.items():
                headers.add(name, value)
        if lifecycle.draining:
            # A balancer's idle connections move to other replicas one by one,
            # each after an answer, so that none is cut under a request.
            response.force_close()
            headers[hdrs.CONNECTION] = "close"

    return last_headers
