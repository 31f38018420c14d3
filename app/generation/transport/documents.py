"""Documents: JSON from a stranger, of which nothing may be taken for granted."""

from __future__ import annotations

from typing import Any

import orjson

# Base64 has no commas: a large answer is one long text, while ten million empty
# tables in as many bytes would be half a gigabyte of objects.
_MAX_VALUES = 100_000


def parse_json(body: bytes) -> Any:
    """Return what *body* says, or None where it is no JSON or has no end of values.

    orjson has a depth limit, so that nesting raises no RecursionError. It
    holds the interpreter lock: a thread would not spare the loop anything.
    """
    if sum(map(body.count, (b",", b"[", b"{"))) > _MAX_VALUES:
        return None
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        return None


def pick(document: object, *path: str | int) -> Any:
    """Return what lies at *path* in parsed JSON, or None where nothing does."""
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
