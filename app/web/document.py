"""A file of this package that browsers keep, and revalidate by its ETag."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256

from aiohttp import hdrs, web

from app.http.conditional import is_not_modified

# The files have none, and a date is ignored beside a tag (RFC 9110, 13.1.3).
_NO_DATE = datetime.fromtimestamp(0, UTC)


@dataclass(frozen=True, slots=True)
class Document:
    """Headers by which callers keep the document and revalidate it each time."""

    body: bytes
    headers: Mapping[str, str]
    etag: str

    @classmethod
    def of(cls, body: bytes, own: Mapping[str, str]) -> Document:
        """Return *body* as a document; *own* are its headers besides the common."""
        etag = f'"{sha256(body).hexdigest()}"'
        headers = {
            "Cache-Control": "no-cache",
            "ETag": etag,
            "X-Content-Type-Options": "nosniff",
            **own,
        }
        return cls(body, headers, etag)

    def answer(self, request: web.Request) -> web.Response:
        """Return the document, or 304 where the caller has it."""
        if hdrs.IF_NONE_MATCH in request.headers and is_not_modified(
            request.headers, etag=self.etag, last_modified=_NO_DATE
        ):
            kept = {k: v for k, v in self.headers.items() if k != "Content-Type"}
            return web.Response(status=304, headers=kept)
        return web.Response(body=self.body, headers=self.headers)
