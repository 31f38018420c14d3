"""Errors in the envelope of OpenAI's API, from the same table of errors.

The SDKs read `error.message`, `error.code` and `x-should-retry`: a problem
document would be an exception without a message.
"""

from __future__ import annotations

import json
from datetime import timedelta
from http import HTTPStatus
from typing import TYPE_CHECKING, NamedTuple

from aiohttp import web

from app import errors
from app.http.http_errors import MalformedHead
from app.http.problems import DETAIL_OF_OUR_OWN, INTERNAL, headers_of, row_for

if TYPE_CHECKING:
    from collections.abc import Mapping

    from app.http.problems import Row

# The SDKs wait for no longer than this before they repeat a request.
MAX_RETRY_AFTER = timedelta(seconds=120)

_INVALID = "invalid_request_error"
_SERVER = "server_error"

_CODES: Mapping[type[errors.ServiceError], tuple[str, str]] = {
    errors.PromptRejected: ("image_generation_user_error", "moderation_blocked"),
    errors.NotAuthenticated: (_INVALID, "invalid_api_key"),
    errors.Forbidden: (_INVALID, "permission_denied"),
    errors.ModelNotFound: (_INVALID, "model_not_found"),
    errors.BudgetExhausted: ("insufficient_quota", "insufficient_quota"),
}
_RATE = ("rate_limit_error", "rate_limit_exceeded")

# A repetition within `Retry-After` can only fail.
_FINAL = (errors.PromptRejected, errors.BudgetExhausted, errors.GenerationDisabled)


class Refusal(NamedTuple):
    """An error as a client of OpenAI's API reads it."""

    status: int
    document: dict[str, object]
    headers: dict[str, str]


def refusal_of(error: BaseException) -> Refusal:
    """Return how *error* is answered under `/v1`."""
    row = row_for(error)
    kind, code = _kind_and_code(error, row)
    is_ours = isinstance(error, errors.ServiceError) and row is not INTERNAL
    document: dict[str, object] = {
        "message": error.detail if is_ours else DETAIL_OF_OUR_OWN,  # type: ignore[attr-defined]
        "type": kind,
        "param": _param_of(error),
        "code": code,
    }
    status = row.status
    if isinstance(error, errors.PromptRejected):
        status = HTTPStatus.BAD_REQUEST
    return Refusal(status, {"error": document}, _headers_of(error, row))


def envelope_response(
    error: BaseException, request_id: str, *, headers: Mapping[str, str]
) -> web.Response:
    """Return the answer to a request under `/v1` that ended in *error*."""
    refusal = refusal_of(error)
    return web.Response(
        body=json.dumps(refusal.document).encode("ascii"),
        status=refusal.status,
        headers={**headers, **refusal.headers, "X-Request-Id": request_id},
    )


def _kind_and_code(error: BaseException, row: Row) -> tuple[str, str]:
    for ancestor in type(error).__mro__:
        if ancestor in _CODES:
            return _CODES[ancestor]
    if row.status == HTTPStatus.TOO_MANY_REQUESTS:
        return _RATE
    if row.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return _SERVER, row.code
    return _INVALID, row.code


def _param_of(error: BaseException) -> str | None:
    match error:
        case errors.InvalidParameter():
            return error.parameter
        case errors.ModelNotFound():
            return "model"
        case errors.PromptRejected():
            return "prompt"
        case MalformedHead():
            return None
        case errors.InvalidRequest():
            return "body"
    return None


def _headers_of(error: BaseException, row: Row) -> dict[str, str]:
    headers = headers_of(error, row, max_retry_after=_longest_pause(error))
    headers["Content-Type"] = "application/json"
    if isinstance(error, errors.StillGenerating):
        headers["x-should-retry"] = "true"
    is_held = (
        isinstance(error, errors.GenerationError)
        and error.end is errors.CallEnd.AMBIGUOUS
    )
    if is_held or isinstance(error, _FINAL):
        headers["x-should-retry"] = "false"
    return headers


def _longest_pause(error: BaseException) -> timedelta | None:
    """Return the longest `Retry-After` of a 429 that ends by itself."""
    ends_by_itself = not isinstance(error, errors.BudgetExhausted)
    is_429 = row_for(error).status == HTTPStatus.TOO_MANY_REQUESTS
    return MAX_RETRY_AFTER if is_429 and ends_by_itself else None
