from __future__ import annotations

import inspect
import json
from datetime import timedelta

import pytest
from aiohttp import web

from app import errors
from app.http import http_errors
from app.http.problems import (
    INTERNAL,
    TABLE,
    as_service_error,
    problem_response,
    row_for,
    row_of,
)

RETRY_STATUSES = {429, 503}

# The contract's own table: what a client's code is written against.
CONTRACT = {
    400: {"invalid_parameter", "malformed_request", "invalid_storage_key"},
    401: {"unauthenticated"},
    403: {"forbidden", "invalid_signature", "signature_expired"},
    404: {"not_found"},
    405: {"method_not_allowed"},
    408: {"request_timeout"},
    409: {"references_gone", "no_signing_key"},
    411: {"length_required"},
    412: {"precondition_failed"},
    413: {"payload_too_large"},
    414: {"uri_too_long"},
    415: {"unsupported_media_type"},
    416: {"range_not_satisfiable"},
    417: {"expectation_failed"},
    422: {"prompt_rejected"},
    429: {"rate_limited", "budget_exhausted", "queue_full"},
    431: {"headers_too_large"},
    500: {"internal_error"},
    502: {"provider_failed"},
    503: {
        "cache_unavailable",
        "storage_unavailable",
        "still_generating",
        "shutting_down",
        "generation_disabled",
    },
    504: {"generation_timed_out"},
    507: {"quota_full"},
}


def leaves(root: type[errors.ServiceError]) -> list[type[errors.ServiceError]]:
    """Return the subclasses of *root* that have no subclasses."""
    # Other tests have errors of their own.
    below = [one for one in root.__subclasses__() if one.__module__.startswith("app.")]
    return [leaf for child in below for leaf in leaves(child)] if below else [root]


def example_of(error: type[errors.ServiceError]) -> errors.ServiceError:
    """Return an error of *kind*."""
    match error:
        case http_errors.RangeNotSatisfiable:
            return http_errors.RangeNotSatisfiable(1000)
        case http_errors.MethodNotAllowed:
            return http_errors.MethodNotAllowed(frozenset({"PUT", "GET"}))
        case errors.InvalidParameter:
            return errors.InvalidParameter("width", "width goes with height.")
    return error("The lighthouse is dark.")


@pytest.mark.parametrize(
    "leaf", leaves(errors.ServiceError), ids=lambda it: it.__name__
)
def test_every_error_has_a_row(leaf: type[errors.ServiceError]) -> None:
    """Every error class of the service has a row of its own or of an ancestor."""
    assert row_of(leaf) is not INTERNAL


def test_an_error_without_a_row_has_that_of_its_nearest_ancestor() -> None:
    """An error without a row uses that of its nearest ancestor."""

    class Special(errors.InvalidParameter):
        """An error whose parent has a row."""

    class MoreSpecial(Special):
        """An error whose grandparent has a row."""

    assert row_of(Special) is row_of(MoreSpecial) is TABLE[errors.InvalidParameter]
    assert row_of(errors.LaterVersion) is TABLE[errors.StorageUnavailable]
    assert row_of(errors.ResultDelayed) is TABLE[errors.ProviderFailed]
    assert row_of(errors.ServiceError) is INTERNAL


@pytest.mark.parametrize("error", TABLE, ids=lambda it: it.__name__)
def test_a_row_is_one_of_the_contract(error: type[errors.ServiceError]) -> None:
    """Every row has a code and a status of the contract."""
    row = TABLE[error]

    assert row.code in CONTRACT[row.status]
    assert (row.retry_after is not None) == (row.status in RETRY_STATUSES)


@pytest.mark.parametrize("error", TABLE, ids=lambda it: it.__name__)
def test_every_row_makes_a_whole_document(error: type[errors.ServiceError]) -> None:
    """Every problem has all members and is never cached."""
    response = problem_response(example_of(error), "a-request")
    document = json.loads(response.body)  # type: ignore[arg-type]
    row = TABLE[error]

    assert response.status == document["status"] == row.status
    assert document["type"] == f"urn:paintonce:problem:{row.code}"
    assert document["code"] == row.code
    assert document["title"] == row.title
    assert document["request_id"] == response.headers["X-Request-Id"] == "a-request"
    assert document["detail"]
    assert response.headers["Content-Type"] == "application/problem+json"
    assert response.headers["Cache-Control"] == "no-store"
    assert ("Retry-After" in response.headers) == (row.status in RETRY_STATUSES)


@pytest.mark.parametrize(
    ("hint", "header"),
    [
        (timedelta(seconds=2.01), "3"),
        (timedelta(0), "1"),
        (timedelta(seconds=-5), "1"),
        (timedelta(minutes=2), "120"),
    ],
)
def test_a_hint_is_whole_seconds_rounded_up(hint: timedelta, header: str) -> None:
    """Retry-After is rounded up to whole seconds, and is at least one."""
    error = errors.ProviderRateLimited("Slow down.", retry_after=hint)

    assert problem_response(error, "r").headers["Retry-After"] == header


def test_the_special_headers_of_a_status_are_there() -> None:
    """A 401, a 405 and a 416 have the header that their status requires."""
    unknown = problem_response(errors.NotAuthenticated("Who are you?"), "r")
    method = problem_response(example_of(http_errors.MethodNotAllowed), "r")
    beyond = problem_response(http_errors.RangeNotSatisfiable(1000), "r")

    assert unknown.headers["WWW-Authenticate"] == "Bearer"
    assert method.headers["Allow"] == "GET, PUT"
    assert beyond.headers["Content-Range"] == "bytes */1000"


def test_a_parameter_is_named() -> None:
    """A problem names the wrong parameter."""
    response = problem_response(example_of(errors.InvalidParameter), "r")

    assert json.loads(response.body)["parameter"] == "width"  # type: ignore[arg-type]


def test_an_unknown_error_is_internal_without_its_message() -> None:
    """An unknown error is a 500 without its message."""
    response = problem_response(KeyError("a lighthouse in a storm"), "r")

    assert response.status == 500
    assert b"lighthouse" not in response.body  # type: ignore[operator]
    assert json.loads(response.body)["code"] == "internal_error"  # type: ignore[arg-type]


def test_own_headers_stand_below_those_of_the_problem() -> None:
    """The problem's headers override those of the resource."""
    response = problem_response(
        errors.NotFound("Nothing here."),
        "r",
        headers={"Cache-Control": "public, max-age=31536000", "Vary": "X-API-Key"},
    )

    assert response.headers["Cache-Control"] == "no-store"
    assert response.headers["Vary"] == "X-API-Key"


def test_a_detail_that_no_text_can_hold_is_still_answered() -> None:
    """A detail with a lone surrogate is sent as an escape."""
    response = problem_response(errors.NotFound("\udcff"), "r")

    assert json.loads(response.body)["detail"] == "\udcff"  # type: ignore[arg-type]


def aiohttp_errors() -> list[type[web.HTTPException]]:
    """Return the errors that aiohttp itself can raise."""
    return [
        it
        for _, it in inspect.getmembers(web, inspect.isclass)
        if issubclass(it, web.HTTPClientError) and it is not web.HTTPClientError
    ]


@pytest.mark.parametrize("theirs", aiohttp_errors(), ids=lambda it: it.__name__)
def test_what_the_framework_refuses_has_a_row(theirs: type[web.HTTPException]) -> None:
    """Every error of aiohttp has a row with its status."""
    if theirs is web.HTTPMethodNotAllowed:
        error: web.HTTPException = web.HTTPMethodNotAllowed("PUT", {"GET"})
    elif theirs is web.HTTPRequestEntityTooLarge:
        error = web.HTTPRequestEntityTooLarge(10, 20)
    elif theirs is web.HTTPUnavailableForLegalReasons:
        error = web.HTTPUnavailableForLegalReasons(link=None)
    else:
        error = theirs()
    row = row_for(as_service_error(error))

    assert row.code in CONTRACT[row.status]
    if error.status in CONTRACT and error.status not in {401, 403, 409, 416, 422, 429}:
        assert row.status == error.status
