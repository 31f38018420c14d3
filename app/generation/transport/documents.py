"""Documents: JSON from a stranger, of which nothing may be taken for granted."""

from __future__ import annotations

from typing import Any

import orjson

# Base64 has no commas: a large answer is one long text, while ten million empty
# tables in as many bytes would be half a gigabyte of objects.
_MAX_VALUES = 100_000


# Python's servers write these, which JSON does not have.
_NO_NUMBERS = (b"-Infinity", b"Infinity", b"NaN")
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_BEFORE_A_VALUE, _BEHIND_A_VALUE = b":,[", b",]}"


def parse_json(body: bytes) -> Any:
    """Return *body* parsed, or None where it is no JSON or has too many values.

    A byte order mark is skipped, and NaN and infinities are read as null.
    orjson has a depth limit, so that nesting raises no RecursionError. It
    holds the interpreter lock: a thread would not spare the loop anything.
    """
    if sum(map(body.count, (b",", b"[", b"{"))) > _MAX_VALUES:
        return None
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        pass
    try:
        return orjson.loads(_repaired(body.removeprefix(_BYTE_ORDER_MARK)))
    except orjson.JSONDecodeError:
        return None


def _repaired(body: bytes) -> bytes:
    """Return *body* with null for each number that is none.

    A text that holds one between a comma and a comma is changed as well;
    nothing is read from such texts. Base64 has no commas.
    """
    for word in _NO_NUMBERS:
        pieces, rest = [], 0
        at = body.find(word)
        while at >= 0:
            end = at + len(word)
            if _is_value(body, at, end):
                pieces += [body[rest:at], b"null"]
                rest = end
            at = body.find(word, end)
        body = b"".join([*pieces, body[rest:]]) if pieces else body
    return body


def _is_value(body: bytes, start: int, end: int) -> bool:
    before = body[max(0, start - 64) : start].rstrip()[-1:]
    behind = body[end : end + 64].lstrip()[:1]
    return (
        before != b""
        and before in _BEFORE_A_VALUE
        and behind != b""
        and behind in _BEHIND_A_VALUE
    )


def pick(document: object, *path: str | int) -> Any:
    """Return the value at *path* in parsed JSON, or None where there is none."""
    for step in path:
        if isinstance(step, str) and isinstance(document, dict):
            document = document.get(step)
        elif isinstance(step, int) and isinstance(document, list):
            document = (
                document[step] if -len(document) <= step < len(document) else None
            )
        else:
            return None
    return document
