"""JSON in requests: one object, of a known length, read within a deadline."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any, NoReturn

from app.http.body_budget import BODY_BUDGET
from app.http.http_errors import (
    LengthRequired,
    MalformedRequest,
    PayloadTooLarge,
    RequestTimeout,
    UnsupportedMediaType,
)

if TYPE_CHECKING:
    from aiohttp import web

MAX_JSON_BYTES = 1024 * 1024
BODY_DEADLINE_SECONDS = 15.0

# The largest list of ours has a thousand. A small value is a hundred bytes in
# memory and takes the parser as long as a hundred others of a text.
MAX_VALUES = 8192


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
    if request.headers.get("Content-Encoding", "identity") != "identity":
        raise UnsupportedMediaType("The body must not be compressed.")
    if request.content_length is None:
        raise LengthRequired("The body needs a Content-Length.")
    if request.content_length > MAX_JSON_BYTES:
        raise PayloadTooLarge(f"The body must have at most {MAX_JSON_BYTES} bytes.")
    if request.content.is_eof():
        # It came along with the head: nothing is waited for.
        return request.content.read_nowait()
    with request.app[BODY_BUDGET].holding(request.content_length):
        try:
            async with asyncio.timeout(BODY_DEADLINE_SECONDS):
                return await request.content.read()
        except TimeoutError:
            raise RequestTimeout("The body was not complete in time.") from None


def parse_object(body: bytes) -> dict[str, Any]:
    """Return the one JSON object that *body* is; raises `MalformedRequest`.

    It has at most 8192 values, and no key twice.
    """
    if _has_too_many_values(body):
        raise MalformedRequest(f"The body has more than {MAX_VALUES} values.")
    try:
        document = json.loads(
            body.decode("utf-8"),
            object_pairs_hook=_without_repetition,
            parse_constant=_refuse_constant,
        )
    # Python refuses integers of thousands of digits, and deep nesting.
    except (ValueError, RecursionError):
        raise MalformedRequest("The body is not JSON, or has a key twice.") from None
    if not isinstance(document, dict):
        raise MalformedRequest("The body must be a JSON object.")
    return document


def _has_too_many_values(body: bytes) -> bool:
    """Count what separates values, outside of texts, before anything is parsed."""
    without_escapes = body.replace(rb"\\", b"").replace(rb"\"", b"")
    parts = without_escapes.split(b'"', 2 * MAX_VALUES)
    outside = b"".join(parts[::2])
    # The last part may hold more texts; then there are too many already.
    separators = sum(map(outside.count, (b",", b"[", b"{")))
    return len(parts) > 2 * MAX_VALUES or separators > MAX_VALUES


def _without_repetition(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    document = dict(pairs)
    if len(document) != len(pairs):
        raise ValueError("a key is repeated")
    return document


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")
