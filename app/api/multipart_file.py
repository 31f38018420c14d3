"""The file of a form, read as its bytes arrive."""

from __future__ import annotations

from typing import TYPE_CHECKING

from app.errors import InvalidParameter
from app.gathered_bytes import GatheredBytes, TooManyBytes
from app.http.forms import read_parts
from app.http.http_errors import PayloadTooLarge

if TYPE_CHECKING:
    from aiohttp import web
    from multipart import MultipartSegment

# A second part is refused by its head.
_MAX_PARTS = 2


class _File:
    """The part `file`, which must be the only one."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._gathered = GatheredBytes(max_bytes)
        self._parts = 0
        self.data: bytes | None = None

    def begin(self, head: MultipartSegment) -> None:
        self._parts += 1
        if head.name != "file" or self._parts > 1:
            raise _not_one_file()

    def add(self, piece: bytes | bytearray) -> None:
        try:
            self._gathered.add(piece)
        except TooManyBytes as error:
            raise PayloadTooLarge.for_picture(self._max_bytes) from error

    def end(self) -> None:
        self.data = self._gathered.value()


async def read_file(request: web.Request, max_bytes: int) -> bytes:
    """Return the bytes of the part `file`, which must be the only one.

    Raises `MalformedRequest`, `InvalidParameter`, or `PayloadTooLarge` beyond
    *max_bytes*.
    """
    # The file has no more bytes than the body.
    file = _File(min(max_bytes, request.content_length or 0))
    await read_parts(request, file, max_parts=_MAX_PARTS)
    if file.data is None:
        raise _not_one_file()
    return file.data


def _not_one_file() -> InvalidParameter:
    return InvalidParameter("file", "The form must have exactly one file.")
