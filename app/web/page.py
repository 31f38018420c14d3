"""The page for people, the API page, and the description for machines.

All of it is in this package: nothing is built, and no other host is asked.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from app.errors import NotFound
from app.web.document import Document

if TYPE_CHECKING:
    from aiohttp import web

_FOLDER = Path(__file__).parent
_STATIC = _FOLDER / "static"

_MEDIA_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
    ".woff2": "font/woff2",
}

# What stands in these files and this service's own answers, and nothing else:
# no inline script or style, and no text that could become a script or markup.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; font-src 'self'; "
    "img-src 'self' blob:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
)
_OF_EVERY_FILE = {
    "Content-Security-Policy": _POLICY,
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
}


def _read(file: Path) -> Document:
    media_type = _MEDIA_TYPES[file.suffix]
    return Document.of(
        file.read_bytes(), {"Content-Type": media_type, **_OF_EVERY_FILE}
    )


_FILES = {file.name: _read(file) for file in sorted(_STATIC.iterdir())}
_PAGE, _DOCS = _FILES.pop("index.html"), _FILES.pop("docs.html")

# Tools in browsers read descriptions across origins.
_OPENAPI = Document.of(
    (_FOLDER / "openapi.json").read_bytes(),
    {"Content-Type": "application/json", "Access-Control-Allow-Origin": "*"},
)


async def page(request: web.Request) -> web.Response:
    """Answer with the page on which people paint, look around and count."""
    return _PAGE.answer(request)


async def docs(request: web.Request) -> web.Response:
    """Answer with the description of every route, for reading."""
    return _DOCS.answer(request)


async def file(request: web.Request) -> web.Response:
    """Answer with a script, the style or a font of the two pages."""
    document = _FILES.get(request.match_info["file"])
    if document is None:
        raise NotFound("There is no such file.")
    return document.answer(request)


async def openapi(request: web.Request) -> web.Response:
    """Answer with the OpenAPI 3.1 description of every route."""
    return _OPENAPI.answer(request)
