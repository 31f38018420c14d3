"""The page for people and the description for machines.

Two files of this package, read once. Callers keep them and ask each time
whether they are still the same.
"""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

from aiohttp import hdrs, web

from app.http.conditional import is_not_modified

if TYPE_CHECKING:
    from collections.abc import Mapping

_FOLDER = Path(__file__).parent

# They have none, and next to a tag it is not looked at (RFC 9110, 13.1.3).
_NO_DATE = datetime.fromtimestamp(0, UTC)


@dataclass(frozen=True, slots=True)
class _Document:
    body: bytes
    headers: Mapping[str, str]
    etag: str

    @classmethod
    def of(cls, body: bytes, own: Mapping[str, str]) -> _Document:
        etag = f'"{sha256(body).hexdigest()}"'
        headers = {
            "Cache-Control": "no-cache",
            "ETag": etag,
            "X-Content-Type-Options": "nosniff",
            **own,
        }
        return cls(body, headers, etag)

    def answer(self, request: web.Request) -> web.Response:
        if hdrs.IF_NONE_MATCH in request.headers and is_not_modified(
            request.headers, etag=self.etag, last_modified=_NO_DATE
        ):
            kept = {k: v for k, v in self.headers.items() if k != "Content-Type"}
            return web.Response(status=304, headers=kept)
        return web.Response(body=self.body, headers=self.headers)


def _content_security_policy(page: str) -> str:
    """Allow what stands in *page* itself, its own service, and nothing else."""
    return "; ".join(
        [
            "default-src 'none'",
            f"script-src {_sources(page, 'script')}",
            f"style-src {_sources(page, 'style')}",
            "img-src blob: data:",
            "connect-src 'self'",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
        ]
    )


def _sources(page: str, element: str) -> str:
    inline = re.findall(rf"<{element}\b[^>]*>(.*?)</{element}>", page, re.DOTALL)
    digests = [base64.b64encode(sha256(text.encode()).digest()) for text in inline]
    return " ".join(f"'sha256-{digest.decode()}'" for digest in digests)


_PAGE_TEXT = (_FOLDER / "page.html").read_text(encoding="utf-8")
_PAGE = _Document.of(
    _PAGE_TEXT.encode(),
    {
        "Content-Type": "text/html; charset=utf-8",
        "Content-Security-Policy": _content_security_policy(_PAGE_TEXT),
        "Referrer-Policy": "no-referrer",
    },
)

# Tools in browsers read descriptions across origins.
_OPENAPI = _Document.of(
    (_FOLDER / "openapi.json").read_bytes(),
    {"Content-Type": "application/json", "Access-Control-Allow-Origin": "*"},
)


async def page(request: web.Request) -> web.Response:
    """Answer with the page on which people try a prompt."""
    return _PAGE.answer(request)


async def openapi(request: web.Request) -> web.Response:
    """Answer with the OpenAPI 3.1 description of every route."""
    return _OPENAPI.answer(request)
