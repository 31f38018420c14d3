"""Forms (RFC 7578), read as their bytes arrive."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from multipart import (
    MultipartError,
    MultipartSegment,
    ParserLimitReached,
    PushMultipartParser,
    parse_options_header,
)

from app.http.http_errors import MalformedRequest
from app.http.incoming_bodies import next_piece

if TYPE_CHECKING:
    from aiohttp import web


class FormParts(Protocol):
    """Receives the parts of a form, one after the other."""

    def begin(self, head: MultipartSegment) -> None:
        """Receive the head of the next part."""
        ...

    def add(self, piece: bytes | bytearray) -> None:
        """Receive more of the part."""
        ...

    def end(self) -> None:
        """Note that the part is complete."""
        ...


async def read_parts(request: web.Request, parts: FormParts, *, max_parts: int) -> None:
    """Give the form in the body of *request* to *parts*.

    aiohttp's own reader reads lines: 16 MiB of empty ones before the first
    boundary kept a replica busy for a second. Raises `MalformedRequest`, and what
    *parts* raises.
    """
    _, options = parse_options_header(request.headers["Content-Type"])
    try:
        # Any bytes are text then: a file's name is not used, whatever it is.
        with PushMultipartParser(
            options.get("boundary", ""),
            max_segment_count=max_parts,
            header_charset="latin-1",
        ) as parser:
            while not parser.closed:
                for event in parser.parse(await next_piece(request)):
                    _take(event, parts)
    except ParserLimitReached as error:
        raise MalformedRequest(
            "The form has too many parts, or a part has too long a head."
        ) from error
    except MultipartError as error:
        raise MalformedRequest("The body is no well-formed form.") from error


def _take(event: MultipartSegment | bytes | bytearray | None, parts: FormParts) -> None:
    match event:
        case MultipartSegment():
            parts.begin(event)
        case None:
            parts.end()
        case _:
            parts.add(event)
