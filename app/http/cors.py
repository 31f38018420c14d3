"""The pages whose scripts may read a picture (Fetch Standard, 3.2: CORS)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import hdrs

from app.http.picture_headers import Part

if TYPE_CHECKING:
    from collections.abc import Sequence

    from multidict import CIMultiDictProxy

ANY = "*"

_EXPOSED = (
    "X-Cache-Status, X-Cache-Hit-Count, X-Image-Id, X-Generation-Id, "
    "X-Prompt-Hash, X-Model, X-Placeholder, X-Request-Id, X-Error-Code, "
    "X-Provenance, Cache-Status, Content-Location, Content-Range, Location, ETag, "
    "Retry-After, RateLimit, RateLimit-Policy"
)
_OF_ALLOWED = {"Access-Control-Expose-Headers": _EXPOSED}

_NOTHING = Part.of({})
# Browsers cache the preflight for an hour.
_PREFLIGHT = Part.of(
    {
        "Access-Control-Allow-Methods": "GET, HEAD",
        "Access-Control-Allow-Headers": (
            "X-API-Key, Authorization, X-Project, X-Request-Id, Prefer, Range, "
            "If-Range, If-None-Match, If-Modified-Since"
        ),
        "Access-Control-Max-Age": "3600",
    }
)


class Cors:
    """The *origins* whose scripts may read; `*` among them means all."""

    def __init__(self, origins: Sequence[str] = (ANY,)) -> None:
        self._is_open = ANY in origins
        # On every answer, since the origin of its request decides.
        varies = {} if self._is_open or not origins else {"Vary": hdrs.ORIGIN}
        self._others = Part.of(varies)
        self._open = Part.of({hdrs.ACCESS_CONTROL_ALLOW_ORIGIN: ANY, **_OF_ALLOWED})
        self._allowed = {
            origin: Part.of(
                {hdrs.ACCESS_CONTROL_ALLOW_ORIGIN: origin, **_OF_ALLOWED, **varies}
            )
            for origin in origins
        }

    def part(self, headers: CIMultiDictProxy[str]) -> Part:
        """Return the CORS headers of an answer to a request with *headers*."""
        if self._is_open:
            return self._open
        return self._allowed.get(headers.get(hdrs.ORIGIN, ""), self._others)

    def preflight(self, headers: CIMultiDictProxy[str]) -> Part:
        """Return the headers of the answer to a preflight."""
        is_allowed = hdrs.ACCESS_CONTROL_ALLOW_ORIGIN in self.part(headers).fields
        return _PREFLIGHT if is_allowed else _NOTHING
