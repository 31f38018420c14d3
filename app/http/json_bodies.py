"""JSON in requests: one object, of a known length, read within a deadline."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NoReturn

from app.http.body_budget import BODY_BUDGET
from app.http.http_errors import MalformedRequest, UnsupportedMediaType
from app.http.incoming_bodies import bounded_length, incoming, require_uncompressed

if TYPE_CHECKING:
    from collections.abc import Callable

    from aiohttp import web

MAX_JSON_BYTES = 1024 * 1024

# The largest list of ours has a thousand. A small value is a hundred bytes in
# memory and takes the parser as long as a hundred others of a text.
MAX_VALUES = 8192

# What an object is made of, in order.
Pairs = list[tuple[str, Any]]


async def read_json_object(request: web.Request) -> dict[str, Any]:
    """Return the body's object; see `read_json_body` and `parse_object`."""
    return parse_object(await read_json_body(request))


async def read_json_body(request: web.Request) -> bytes:
    """Return the body, which is to be JSON.

    415 unless it is `application/json` without an encoding, 411 without a
    length, 413 above 1 MiB, 429 where the replica holds too many bodies, 408
    where it is not complete after 15 s.
    """
    if request.content_type != "application/json":
        raise UnsupportedMediaType("The body must be application/json.")
    require_uncompressed(request)
    length = bounded_length(request, MAX_JSON_BYTES)
    if request.content.is_eof():
        # The body arrived with the head.
        return request.content.read_nowait()
    with request.app[BODY_BUDGET].holding(length):
        async with incoming(request):
            return await request.content.read()


def parse_object(
    body: bytes, read_object: Callable[[Pairs], dict[str, Any]] | None = None
) -> dict[str, Any]:
    """Return the one JSON object that *body* is; raises `MalformedRequest`.

    It has at most 8192 values, and no key twice. Every object in it is made by
    *read_object*, else by `without_repetition`.
    """
    require_few_values(body)
    try:
        document = json.loads(
            body.decode("utf-8"),
            object_pairs_hook=read_object or without_repetition,
            parse_constant=_refuse_constant,
        )
    # Python refuses integers of thousands of digits, and deep nesting.
    except (ValueError, RecursionError):
        raise malformed() from None
    if not isinstance(document, dict):
        raise MalformedRequest("The body must be a JSON object.")
    return document


def require_few_values(body: bytes) -> None:
    """Raise `MalformedRequest` where *body* has more than 8192 values.

    What separates values outside of texts is counted, before anything is parsed.
    """
    without_escapes = body.replace(rb"\\", b"").replace(rb"\"", b"")
    parts = without_escapes.split(b'"', 2 * MAX_VALUES)
    outside = b"".join(parts[::2])
    # The last part may hold more texts; then there are too many already.
    separators = sum(map(outside.count, (b",", b"[", b"{")))
    if len(parts) > 2 * MAX_VALUES or separators > MAX_VALUES:
        raise MalformedRequest(f"The body has more than {MAX_VALUES} values.")


def without_repetition(pairs: Pairs) -> dict[str, Any]:
    """Return the object of *pairs*; raises `ValueError` where a key is repeated."""
    document = dict(pairs)
    if len(document) != len(pairs):
        raise ValueError("a key is repeated")
    return document


def malformed() -> MalformedRequest:
    """Return the error of a body that can't be parsed."""
    return MalformedRequest("The body is not JSON, or has a key twice.")


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")
