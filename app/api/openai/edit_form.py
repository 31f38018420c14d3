"""An edit as a form (RFC 7578): pictures and texts, taken in as they come."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from multipart import (
    MultipartError,
    MultipartSegment,
    ParserLimitReached,
    PushMultipartParser,
    parse_options_header,
)

from app.errors import InvalidParameter
from app.http.http_errors import PayloadTooLarge
from app.http.unknown_names import shown

if TYPE_CHECKING:
    from aiohttp import web

MAX_PARTS = 64
MAX_EDIT_BYTES = 64 * 1024 * 1024
_MAX_TEXT_BYTES = 1024 * 1024

IMAGES = frozenset({"image", "image[]"})
MASK = "mask"


class EditForm(NamedTuple):
    """The fields of a form; pictures are bytes in the order of their parts."""

    texts: dict[str, str]
    images: list[bytes]
    mask: bytes | None


class _Part:
    def __init__(self, segment: MultipartSegment) -> None:
        self.name = segment.name
        self.is_file = segment.filename is not None
        self.data = bytearray()

    @property
    def is_picture(self) -> bool:
        return self.name in IMAGES or self.name == MASK


async def read_form(request: web.Request, max_image_bytes: int) -> EditForm:
    """Return the form in the body of *request*.

    Raises `InvalidParameter` for a part that has no name, stands twice or is no
    text, and for what is no form; `PayloadTooLarge` for pictures of more than
    *max_image_bytes*, or 64 MiB in all.
    """
    _, options = parse_options_header(request.headers["Content-Type"])
    parts: list[_Part] = []
    sizes = {True: 0, False: 0}
    try:
        with PushMultipartParser(
            options.get("boundary", ""), max_segment_count=MAX_PARTS
        ) as parser:
            while not parser.closed:
                for event in parser.parse(await request.content.readany()):
                    if isinstance(event, MultipartSegment):
                        parts.append(_named(_Part(event)))
                    elif event:
                        part = parts[-1]
                        part.data += event
                        sizes[part.is_picture] += len(event)
                        _check_sizes(part, sizes, max_image_bytes)
    except ParserLimitReached as error:
        raise InvalidParameter(
            "body", "The form has too many parts, or a part has too long a head."
        ) from error
    except MultipartError as error:
        raise InvalidParameter("body", "The body is no well-formed form.") from error
    return _form_of(parts)


def _named(part: _Part) -> _Part:
    if not part.name:
        raise InvalidParameter("body", "A part of the form has no name.")
    return part


def _check_sizes(part: _Part, sizes: dict[bool, int], max_image_bytes: int) -> None:
    if part.is_picture and len(part.data) > max_image_bytes:
        raise PayloadTooLarge(f"A picture may have at most {max_image_bytes} bytes.")
    if sizes[True] > MAX_EDIT_BYTES:
        raise PayloadTooLarge(f"Pictures may have {MAX_EDIT_BYTES} bytes in all.")
    if sizes[False] > _MAX_TEXT_BYTES:
        raise PayloadTooLarge(f"Fields may have {_MAX_TEXT_BYTES} bytes in all.")


def _form_of(parts: list[_Part]) -> EditForm:
    texts: dict[str, str] = {}
    images: list[bytes] = []
    mask: bytes | None = None
    for part in parts:
        if part.is_picture:
            # An empty text is as absent, for a picture as well.
            if not part.data and not part.is_file:
                continue
            if part.name != MASK:
                images.append(bytes(part.data))
                continue
        if part.name == MASK:
            if mask is not None:
                raise InvalidParameter(MASK, "mask is given more than once.")
            mask = bytes(part.data)
            continue
        if part.name in texts:
            name = shown(part.name, otherwise="body")
            raise InvalidParameter(name, f"{name} is given more than once.")
        texts[part.name] = _text(part)
    return EditForm(texts, images, mask)


def _text(part: _Part) -> str:
    try:
        return part.data.decode()
    except UnicodeDecodeError:
        name = shown(part.name, otherwise="body")
        raise InvalidParameter(name, f"{name} is not UTF-8.") from None
