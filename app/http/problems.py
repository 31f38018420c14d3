"""Errors as problem documents (RFC 9457): the only table of status codes."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from datetime import timedelta
from types import MappingProxyType
from typing import NamedTuple

from aiohttp import hdrs, web

from app import errors
from app.http import http_errors

SERVER = "paintonce"

_NONE: Mapping[str, str] = MappingProxyType({})


class Row(NamedTuple):
    """The answer to one class of errors; *retry_after* is in seconds."""

    status: int
    code: str
    title: str
    retry_after: int | None = None


# A class without a row of its own has the row of its nearest ancestor.
TABLE: Mapping[type[errors.ServiceError], Row] = MappingProxyType(
    {
        errors.InvalidRequest: Row(400, "malformed_request", "Malformed request"),
        errors.InvalidParameter: Row(400, "invalid_parameter", "Invalid parameter"),
        errors.InvalidStorageKey: Row(
            400, "invalid_storage_key", "Invalid storage key"
        ),
        http_errors.MalformedRequest: Row(
            400, "malformed_request", "Malformed request"
        ),
        http_errors.MalformedHead: Row(400, "malformed_request", "Malformed request"),
        errors.NotAuthenticated: Row(401, "unauthenticated", "Not authenticated"),
        errors.Forbidden: Row(403, "forbidden", "Forbidden"),
        errors.InvalidSignature: Row(403, "invalid_signature", "Invalid signature"),
        errors.SignatureExpired: Row(403, "signature_expired", "Signature expired"),
        errors.NotFound: Row(404, "not_found", "Not found"),
        errors.ModelNotFound: Row(404, "not_found", "Not found"),
        http_errors.MethodNotAllowed: Row(
            405, "method_not_allowed", "Method not allowed"
        ),
        http_errors.RequestTimeout: Row(408, "request_timeout", "Request timed out"),
        errors.ReferencesGone: Row(409, "references_gone", "References gone"),
        errors.NoSigningKey: Row(409, "no_signing_key", "No signing key"),
        http_errors.LengthRequired: Row(411, "length_required", "Length required"),
        http_errors.PreconditionFailed: Row(
            412, "precondition_failed", "Precondition failed"
        ),
        http_errors.PayloadTooLarge: Row(413, "payload_too_large", "Payload too large"),
        http_errors.UriTooLong: Row(414, "uri_too_long", "URI too long"),
        errors.UnsupportedImage: Row(
            415, "unsupported_media_type", "Unsupported media type"
        ),
        http_errors.UnsupportedMediaType: Row(
            415, "unsupported_media_type", "Unsupported media type"
        ),
        http_errors.RangeNotSatisfiable: Row(
            416, "range_not_satisfiable", "Range not satisfiable"
        ),
        http_errors.ExpectationFailed: Row(
            417, "expectation_failed", "Expectation failed"
        ),
        errors.PromptRejected: Row(422, "prompt_rejected", "Prompt rejected"),
        http_errors.HeadersTooLarge: Row(431, "headers_too_large", "Headers too large"),
        errors.ProviderRateLimited: Row(429, "rate_limited", "Rate limited", 10),
        errors.RateLimited: Row(429, "rate_limited", "Rate limited", 1),
        errors.KeyRevoked: Row(401, "unauthenticated", "Not authenticated"),
        errors.SignatureRevoked: Row(403, "invalid_signature", "Invalid signature"),
        errors.ScopeClosed: Row(403, "forbidden", "Forbidden"),
        errors.ScopeGone: Row(404, "not_found", "Not found"),
        errors.NewPicturesLimited: Row(429, "rate_limited", "Rate limited", 60),
        errors.BudgetExhausted: Row(429, "budget_exhausted", "Budget exhausted", 3600),
        errors.QueueFull: Row(429, "queue_full", "Queue full", 5),
        errors.ProviderFailed: Row(502, "provider_failed", "Provider failed"),
        errors.BadImage: Row(502, "provider_failed", "Provider failed"),
        errors.CacheUnavailable: Row(503, "cache_unavailable", "Cache unavailable", 2),
        errors.StorageUnavailable: Row(
            503, "storage_unavailable", "Storage unavailable", 2
        ),
        errors.StillGenerating: Row(503, "still_generating", "Still generating", 2),
        errors.ShuttingDown: Row(503, "shutting_down", "Shutting down", 1),
        errors.GenerationDisabled: Row(
            503, "generation_disabled", "Generation disabled", 60
        ),
        errors.GenerationTimedOut: Row(
            504, "generation_timed_out", "Generation timed out"
        ),
        errors.QuotaFull: Row(507, "quota_full", "Quota full"),
    }
)

# What aiohttp raises by itself, the special before the general.
_REFUSALS: tuple[tuple[type[Exception], type[errors.ServiceError], str], ...] = (
    (web.HTTPNotFound, errors.NotFound, "There is nothing here."),
    (
        web.HTTPRequestTimeout,
        http_errors.RequestTimeout,
        "The request was not complete in time.",
    ),
    (web.HTTPLengthRequired, http_errors.LengthRequired, "A Content-Length is needed."),
    (
        web.HTTPRequestEntityTooLarge,
        http_errors.PayloadTooLarge,
        "The body has too many bytes.",
    ),
    (
        web.HTTPRequestURITooLong,
        http_errors.UriTooLong,
        "The request target has too many bytes.",
    ),
    (
        web.HTTPUnsupportedMediaType,
        http_errors.UnsupportedMediaType,
        "The body's type is not accepted.",
    ),
    (
        web.HTTPPreconditionFailed,
        http_errors.PreconditionFailed,
        "The picture is another one by now.",
    ),
    (
        web.HTTPRequestHeaderFieldsTooLarge,
        http_errors.HeadersTooLarge,
        "The head of the request has too many bytes.",
    ),
    (
        web.HTTPExpectationFailed,
        http_errors.ExpectationFailed,
        "Expect may be 100-continue alone.",
    ),
    (
        web.HTTPClientError,
        http_errors.MalformedRequest,
        "The request can't be understood.",
    ),
    (
        web.RequestPayloadError,
        http_errors.MalformedRequest,
        "The body breaks the rules of HTTP.",
    ),
)

DETAIL_OF_OUR_OWN = "The service met an error of its own."
INTERNAL = Row(500, "internal_error", "Internal error")


def row_for(error: BaseException) -> Row:
    """Return how *error* is answered; what is not ours is an internal error."""
    return row_of(type(error))


def row_of(kind: type[BaseException]) -> Row:
    """Return how errors of *kind* are answered."""
    for ancestor in kind.__mro__:
        row = TABLE.get(ancestor)
        if row is not None:
            return row
    return INTERNAL


def problem_document(
    row: Row, detail: str | None, request_id: str
) -> dict[str, object]:
    """Return the problem object of an error that is answered as *row* says."""
    if row is INTERNAL or detail is None:
        detail = DETAIL_OF_OUR_OWN
    return {
        "type": f"urn:paintonce:problem:{row.code}",
        "title": row.title,
        "status": row.status,
        "detail": detail,
        "code": row.code,
        "request_id": request_id,
    }


def problem_response(
    error: BaseException, request_id: str, *, headers: Mapping[str, str] = _NONE
) -> web.Response:
    """Return the problem document of *error*.

    *headers* are the resource's own; those of a problem outrank them. The
    sentence of an error that is not ours is not sent.
    """
    row = row_for(error)
    detail = error.detail if isinstance(error, errors.ServiceError) else None
    document = problem_document(row, detail, request_id)
    if isinstance(error, errors.InvalidParameter):
        document["parameter"] = error.parameter
    return web.Response(
        # Plain JSON escapes what is not ASCII, surrogates as well.
        body=json.dumps(document).encode("ascii"),
        status=row.status,
        headers={**headers, **headers_of(error, row), "X-Request-Id": request_id},
    )


def as_service_error(error: Exception) -> Exception:
    """Return an error of aiohttp as one of ours, any other as it is."""
    if isinstance(error, web.HTTPMethodNotAllowed):
        # OPTIONS is for browsers that ask in a page's name, and for no other client.
        allowed = frozenset(error.allowed_methods) - {hdrs.METH_OPTIONS}
        return http_errors.MethodNotAllowed(allowed)
    for theirs, ours, detail in _REFUSALS:
        if isinstance(error, theirs):
            return ours(detail)
    return error


def headers_of(
    error: BaseException, row: Row, *, max_retry_after: timedelta | None = None
) -> dict[str, str]:
    """Return the headers of an error, `Retry-After` up to *max_retry_after*."""
    headers = {
        "Content-Type": "application/problem+json",
        "Cache-Control": "no-store",
        "Server": SERVER,
    }
    hint = getattr(error, "retry_after", None)
    if hint is not None and max_retry_after is not None:
        hint = min(hint, max_retry_after)
    if hint is not None:
        headers["Retry-After"] = str(max(1, math.ceil(hint.total_seconds())))
    elif row.retry_after is not None:
        headers["Retry-After"] = str(row.retry_after)
    if row.status == 401:  # noqa: PLR2004 - an HTTP status
        headers["WWW-Authenticate"] = "Bearer"
    if isinstance(error, http_errors.MethodNotAllowed):
        headers["Allow"] = ", ".join(sorted(error.allowed))
    if isinstance(error, http_errors.RangeNotSatisfiable):
        headers["Content-Range"] = f"bytes */{error.size}"
    return headers
