"""JSON with pictures in data URLs, read as it arrives.

The data URLs are taken out of the document and decoded on the way, so that a
body of 64 MiB is never held as it was sent. What is left of it is short; it
has a mark in place of each data URL, and is parsed as any other document is.
"""

from __future__ import annotations

import json
import re
from codecs import getincrementaldecoder
from secrets import token_hex
from typing import TYPE_CHECKING, Any

from app.gathered_bytes import TooManyBytes
from app.http.http_errors import PayloadTooLarge
from app.http.incoming_bodies import next_piece
from app.http.json_bodies import (
    MAX_JSON_BYTES,
    malformed,
    parse_object,
    require_few_values,
    without_repetition,
)
from app.transient_images import DataUrl, is_data_url

if TYPE_CHECKING:
    from aiohttp import web

    from app.http.json_bodies import Pairs

# Further ones are not taken out: each costs some time, however short it is.
_MAX_TAKEN_OUT = 64

_SPACE = r"[ \t\r\n]{0,32}"
_SCHEME = "data:"
_TEXTS = json.JSONDecoder()
_LONGEST_PART = len(r"\u000")


async def read_picture_json(
    request: web.Request, name: str, max_image_bytes: int
) -> dict[str, Any]:
    """Return the object in the body of *request*.

    Every data URL that is the value of a key *name* is a `DataUrl` in it. Raises
    `MalformedRequest`, and `PayloadTooLarge` as soon as one of them has more than
    *max_image_bytes*, or there is more than 1 MiB beside them.
    """
    # No picture has more bytes than the body.
    length = request.content_length or 0
    reader = PictureJson(name, min(max_image_bytes, length))
    while chunk := await next_piece(request):
        reader.add(chunk)
    return reader.document()


class PictureJson:
    """A document that comes in chunks; see `read_picture_json`.

    Data URLs are found as all serializers write their keys and their scheme. With
    an escape in there they are left in the document, and may be as long as that.
    """

    def __init__(self, name: str, max_image_bytes: int) -> None:
        self._name = name
        self._max_image_bytes = max_image_bytes
        # No quote within a text comes without a backslash before it.
        opening = rf'[^\\]"{name}"{_SPACE}:{_SPACE}"(?i:{_SCHEME})'
        self._opening = re.compile(opening)
        self._longest_opening = len(f'x"{name}":"{_SCHEME}') + 2 * 32
        self._utf8 = getincrementaldecoder("utf-8")()
        # Characters that mean something only with those that follow.
        self._held = ""
        self._rest = bytearray()
        # Random, so that no caller can write it into the document.
        self._nonce = token_hex(16)
        self._taken: dict[str, DataUrl] = {}
        self._open: DataUrl | None = None

    def add(self, chunk: bytes) -> None:
        """Take in the next chunk; raises as `read_picture_json` does."""
        try:
            text = self._held + self._utf8.decode(chunk)
        except UnicodeDecodeError:
            raise malformed() from None
        self._held = ""
        while text:
            url = self._open
            text = self._outside(text) if url is None else self._within(text, url)

    def document(self) -> dict[str, Any]:
        """Return the document, once the last chunk was added."""
        try:
            self._keep(self._held + self._utf8.decode(b"", final=True))
        except UnicodeDecodeError:
            raise malformed() from None
        return parse_object(bytes(self._rest), self._object)

    def _outside(self, text: str) -> str:
        """Keep *text* up to a data URL; return what of it is to be read next."""
        full = len(self._taken) == _MAX_TAKEN_OUT
        opening = None if full else self._opening.search(text)
        if opening is None:
            end = max(0, len(text) - self._longest_opening)
            self._keep(text[:end])
            self._held = text[end:]
            return ""
        at = opening.end() - len(_SCHEME)
        mark = f"{self._nonce}-{len(self._taken)}"
        self._keep(text[:at] + mark)
        self._open = self._taken[mark] = DataUrl(self._max_image_bytes)
        return text[at:]

    def _within(self, text: str, url: DataUrl) -> str:
        """Decode more of *url*; return what of *text* is to be read next."""
        characters, end = _unescaped(text)
        after = text[end:]
        is_last = after.startswith('"')
        self._decode(url, characters, is_last=is_last)
        if is_last:
            self._open = None
            return after
        self._held = after
        return ""

    def _decode(self, url: DataUrl, text: str, *, is_last: bool) -> None:
        try:
            url.add(text, is_last=is_last)
        except TooManyBytes as error:
            raise PayloadTooLarge.for_picture(self._max_image_bytes) from error

    def _keep(self, text: str) -> None:
        self._rest += text.encode()
        if len(self._rest) > MAX_JSON_BYTES:
            require_few_values(bytes(self._rest))
            raise PayloadTooLarge(
                f"Besides its pictures the body may have {MAX_JSON_BYTES} bytes."
            )

    def _object(self, pairs: Pairs) -> dict[str, Any]:
        """Return the object of *pairs*, its data URL in place of the mark."""
        found = without_repetition(pairs)
        value = found.get(self._name)
        if isinstance(value, str):
            found[self._name] = self._taken.get(value) or self._left(value)
        return found

    def _left(self, value: str) -> DataUrl | str:
        if not is_data_url(value):
            return value
        url = DataUrl(self._max_image_bytes)
        self._decode(url, value, is_last=True)
        return url


def _unescaped(text: str) -> tuple[str, int]:
    """Return *text* without its escapes, and where it ends.

    That is at a quote, at an escape that is not whole, or at the end of *text*.
    """
    try:
        meant, end = _TEXTS.raw_decode(f'"{text[: _whole(text)]}"')
    except ValueError:
        raise malformed() from None
    # Between the first quote and the last.
    return meant, end - 2


def _whole(text: str) -> int:
    """Return where *text* ends, or where an escape begins that goes on after it."""
    last = text.rfind("\\", -_LONGEST_PART)
    if last == -1 or text[last + 1 : last + 2] not in {"", "u"}:
        return len(text)
    # Every second one is escaped by the one before it.
    before = len(text[:last]) - len(text[:last].rstrip("\\"))
    return len(text) if before % 2 else last
