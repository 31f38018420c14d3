"""JSON in answers: times are RFC 3339 UTC, and no cache stores them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson
from aiohttp import web

JSON = "application/json"


def json_bytes(document: Any) -> bytes:
    """Return *document* in one line of JSON."""
    return orjson.dumps(document, option=orjson.OPT_UTC_Z)


def json_answer(
    document: Any, *, status: int = 200, headers: Mapping[str, str] | None = None
) -> web.Response:
    """Return *document* as an answer that is `no-store`."""
    return web.Response(
        body=json_bytes(document),
        status=status,
        headers={"Content-Type": JSON, "Cache-Control": "no-store", **(headers or {})},
    )
