"""Data URLs (RFC 2397), read strictly. Pure.

Lenient in one point only: ASCII white space within base64 is left out, as the
WHATWG Fetch Standard does, because mail encoders wrap their lines.
"""

from __future__ import annotations

import binascii
import re
from urllib.parse import unquote_to_bytes

_HEAD = re.compile(r"data:([^,]{0,1024}),", re.IGNORECASE)
_PARAMETERS = re.compile(r"[^\x00-\x20\x7f-\U0010ffff,]*")
_BASE64 = re.compile(rb"[A-Za-z0-9+/]*={0,2}")
_WHITE_SPACE = b"\t\n\f\r "
_BROKEN_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
# What a URL can't hold as it is (RFC 3986, 2): everything else is escaped.
_NOT_IN_A_URL = re.compile(r"[^\x21-\x7e]")


class InvalidDataUrl(ValueError):
    """Not a well-formed data URL."""


class DataUrlTooLarge(ValueError):
    """The data URL has more bytes than are accepted; it was not decoded."""


def is_data_url(text: str) -> bool:
    """Say whether *text* has the scheme of a data URL."""
    return text[:5].lower() == "data:"


def read_data_url(text: str, *, most_bytes: int | None = None) -> bytes:
    """Return the bytes that *text* stands for, whatever type it claims.

    Raises `InvalidDataUrl`, or `DataUrlTooLarge` before it decodes more than
    *most_bytes*.
    """
    head = _HEAD.match(text)
    if head is None or not _PARAMETERS.fullmatch(head[1]):
        raise InvalidDataUrl("It must be data:, a media type, a comma and the data.")
    is_base64 = head[1].lower().endswith(";base64")
    if is_base64:
        return _base64(text, head.end(), most_bytes)
    return _escaped(text, head.end(), most_bytes)


def _base64(text: str, start: int, most_bytes: int | None) -> bytes:
    try:
        payload = text[start:].encode("ascii")
    except UnicodeEncodeError:
        raise InvalidDataUrl("The base64 has characters that are not ASCII.") from None
    if b"%" in payload:
        _refuse_broken_escapes(text, start)
        payload = unquote_to_bytes(payload)
    payload = payload.translate(None, _WHITE_SPACE)
    padding = len(payload) - len(payload.rstrip(b"="))
    if len(payload) % 4 or not _BASE64.fullmatch(payload):
        raise InvalidDataUrl("The data is not base64 with its padding.")
    _bound(len(payload) // 4 * 3 - padding, most_bytes)
    try:
        return binascii.a2b_base64(payload, strict_mode=True)
    except binascii.Error:
        raise InvalidDataUrl("The data is not base64 with its padding.") from None


def _escaped(text: str, start: int, most_bytes: int | None) -> bytes:
    if _NOT_IN_A_URL.search(text, start):
        raise InvalidDataUrl("The data has characters that must be escaped.")
    _refuse_broken_escapes(text, start)
    _bound(len(text) - start - 2 * text.count("%", start), most_bytes)
    return unquote_to_bytes(text[start:])


def _refuse_broken_escapes(text: str, start: int) -> None:
    if _BROKEN_ESCAPE.search(text, start):
        raise InvalidDataUrl("A percent sign starts no escape.")


def _bound(size: int, most_bytes: int | None) -> None:
    if most_bytes is not None and size > most_bytes:
        raise DataUrlTooLarge(f"The data has more than {most_bytes} bytes.")
