"""An edit as a form (RFC 7578): pictures and texts, read as they arrive."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from app.errors import InvalidParameter
from app.gathered_bytes import GatheredBytes, TooManyBytes
from app.http.forms import read_parts
from app.http.http_errors import PayloadTooLarge
from app.http.unknown_names import shown

if TYPE_CHECKING:
    from aiohttp import web
    from multipart import MultipartSegment

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
    def __init__(self, head: MultipartSegment, max_image_bytes: int) -> None:
        if not head.name:
            raise InvalidParameter("body", "A part of the form has no name.")
        self.name = head.name
        self.is_file = head.filename is not None
        self.is_picture = self.name in IMAGES or self.name == MASK
        self.gathered = GatheredBytes(
            max_image_bytes if self.is_picture else _MAX_TEXT_BYTES
        )
        self.data = b""


class _Parts:
    """The parts as they come: pictures of at most *max_image_bytes*, and texts."""

    def __init__(self, max_image_bytes: int) -> None:
        self.complete: list[_Part] = []
        self._max_image_bytes = max_image_bytes
        self._part: _Part
        self._picture_bytes = 0
        self._text_bytes = 0

    def begin(self, head: MultipartSegment) -> None:
        self._part = _Part(head, self._max_image_bytes)

    def add(self, piece: bytes | bytearray) -> None:
        if self._part.is_picture:
            self._picture_bytes += len(piece)
        else:
            self._text_bytes += len(piece)
        if self._picture_bytes > MAX_EDIT_BYTES:
            raise PayloadTooLarge(f"Pictures may have {MAX_EDIT_BYTES} bytes in all.")
        if self._text_bytes > _MAX_TEXT_BYTES:
            raise PayloadTooLarge(f"Fields may have {_MAX_TEXT_BYTES} bytes in all.")
        try:
            self._part.gathered.add(piece)
        except TooManyBytes as error:
            raise PayloadTooLarge.for_picture(self._max_image_bytes) from error

    def end(self) -> None:
        self._part.data = self._part.gathered.value()
        self.complete.append(self._part)


async def read_form(request: web.Request, max_image_bytes: int) -> EditForm:
    """Return the form in the body of *request*.

    Raises `MalformedRequest` for what is no form, `InvalidParameter` for a part
    that has no name, stands twice or is no text, and `PayloadTooLarge` for
    pictures of more than *max_image_bytes*, or 64 MiB in all.
    """
    # No picture has more bytes than the body.
    parts = _Parts(min(max_image_bytes, request.content_length or 0))
    await read_parts(request, parts, max_parts=MAX_PARTS)
    return _form_of(parts.complete)


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
                images.append(part.data)
                continue
        if part.name == MASK:
            if mask is not None:
                raise InvalidParameter(MASK, "mask is given more than once.")
            mask = part.data
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
