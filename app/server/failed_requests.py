"""Failed requests: the problem that is the answer, and the line in the log."""

from __future__ import annotations

import logging
from types import MappingProxyType
from typing import TYPE_CHECKING

from aiohttp import hdrs, web

from app import urls
from app.errors import ServiceError
from app.http.error_pictures import asks_for_a_picture, picture_of
from app.http.openai_errors import envelope_response
from app.http.picture_headers import LIVE_VARY, lines
from app.http.problems import INTERNAL, as_service_error, problem_response, row_for
from app.server.bodies import cut
from app.server.lifecycle import LIFECYCLE
from app.server.raw_answers import READY_STATUSES, RawAnswer, may_be_raw
from app.server.request_context import (
    CORS,
    ERROR_AS_PICTURE,
    ERROR_HEADERS,
    MORE_HEADERS,
    NO_HEADERS,
    X_REQUEST_ID,
    new_request_id,
    route_of,
)
from app.telemetry import REQUEST_ID

if TYPE_CHECKING:
    from collections.abc import Mapping

logger = logging.getLogger(__name__)

FIRST_SERVER_ERROR = 500

_LIVE_ERRORS: Mapping[str, str] = MappingProxyType({"Vary": LIVE_VARY})
_OF_EVERY_READY_ANSWER = frozenset(
    {hdrs.SERVER, hdrs.DATE, X_REQUEST_ID, hdrs.CONTENT_LENGTH}
)


def answer_of(request: web.Request, error: Exception) -> web.StreamResponse:
    """Return the answer that says *error*; raise where no client could read it."""
    transport = request.transport
    if transport is None or transport.is_closing():
        if isinstance(error, ServiceError):
            # The client has gone: what it would have read is no failure of ours.
            raise ConnectionResetError from error
        raise error
    if request.writer.output_size > 0:
        log_failure(request, INTERNAL.status, error)
        raise cut(request) from error
    refusal = as_service_error(error)
    row = row_for(refusal)
    if row.status >= FIRST_SERVER_ERROR:
        log_failure(request, row.status, refusal)
    live = _LIVE_ERRORS if request.path == urls.LIVE else NO_HEADERS
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
    fields.update(request.get(MORE_HEADERS, NO_HEADERS))
    head = lines(fields)
    if route_of(request) in urls.READ_ACROSS_ORIGINS:
        head += request.app[CORS].part(request.headers).lines
    return RawAnswer(response.status, head, response.body)


def log_failure(
    request: web.Request, status: int, error: BaseException | None = None
) -> None:
    """Write the line of a request that was answered with a 5xx."""
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
