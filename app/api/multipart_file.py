"""The one file of a form (RFC 7578), taken in as it comes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from multipart import (
    MultipartError,
    MultipartSegment,
    ParserLimitReached,
    PushMultipartParser,
    parse_options_header,
)

from app.errors import InvalidParameter
from app.http.http_errors import MalformedRequest, PayloadTooLarge

if TYPE_CHECKING:
    from aiohttp import web


async def read_file(request: web.Request, max_bytes: int) -> bytes:
    """Return the bytes of the part `file`, which must be the only one.

    aiohttp's own reader goes by lines: 16 MiB of empty ones before the first
    boundary kept a replica busy for a second. Raises `MalformedRequest`,
    `InvalidParameter`, or `PayloadTooLarge` beyond *max_bytes*.
    """
    _, options = parse_options_header(request.headers["Content-Type"])
    data = bytearray()
    parts = 0
    try:
        # Any bytes are text then: a file's name is not used, whatever it is.
        with PushMultipartParser(
            options.get("boundary", ""), header_charset="latin-1"
        ) as parser:
            while not parser.closed:
                for event in parser.parse(await request.content.readany()):
                    if isinstance(event, MultipartSegment):
                        parts += 1
                        _require_the_file(event.name, parts)
                    elif event:
                        data += event
                        if len(data) > max_bytes:
                            raise PayloadTooLarge(
                                f"A picture may have at most {max_bytes} bytes."
                            )
    except ParserLimitReached as error:
        raise MalformedRequest("The form's headers are too long.") from error
    except MultipartError as error:
        raise MalformedRequest("The body is no well-formed multipart.") from error
    _require_the_file("file", parts)
    return bytes(data)


def _require_the_file(name: str | None, parts: int) -> None:
    if name != "file" or parts != 1:
        raise InvalidParameter("file", "The form must have exactly one file.")
