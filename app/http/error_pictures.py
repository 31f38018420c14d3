"""A failure as a picture, for pages: `on_error=image`.

An `<img>` shows nothing of a problem document. This is a small SVG that says
what happened, in the words of the error table and never in the caller's; its
status, code and headers are the problem's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from xml.sax.saxutils import escape, quoteattr

from aiohttp import web

from app.errors import InvalidParameter
from app.http.picture_headers import EMBEDDING
from app.http.query import decode

if TYPE_CHECKING:
    from app.http.problems import Row

ON_ERROR = "on_error"
AS_PICTURE, AS_JSON = "image", "json"

_SVG = """\
<svg xmlns="http://www.w3.org/2000/svg" width="480" height="270" \
viewBox="0 0 480 270" role="img" aria-label={label}>\
<rect width="480" height="270" fill="#f3f1ec"/>\
<path d="M24 206l96-88 58 52 46-40 88 76z" fill="#d9d5cb"/>\
<circle cx="352" cy="86" r="26" fill="#d9d5cb"/>\
<text x="240" y="240" text-anchor="middle" font-family="system-ui,sans-serif" \
font-size="20" fill="#57534a">{title}</text>\
</svg>
"""


def asks_for_a_picture(query: str) -> bool:
    """Return whether *query*, which may be wrong in all else, has `on_error=image`.

    A repeated or unknown `on_error` is an error of its own, and asks for nothing.
    """
    try:
        named = [
            decode(value, parameter=ON_ERROR, plus_is_space=True)
            for name, _, value in (part.partition("=") for part in query.split("&"))
            if name == ON_ERROR
        ]
    except InvalidParameter:
        return False
    return named == [AS_PICTURE]


def picture_of(problem: web.Response, row: Row) -> web.Response:
    """Return *problem*, which is answered as *row* says, as an SVG picture."""
    svg = _SVG.format(label=quoteattr(row.title), title=escape(row.title))
    headers = {
        **problem.headers,
        **EMBEDDING.fields,
        "Content-Type": "image/svg+xml",
        "X-Error-Code": row.code,
    }
    headers.pop("Content-Length", None)
    return web.Response(body=svg.encode(), status=problem.status, headers=headers)
