"""Data URLs (RFC 2397), read strictly. Pure.

Lenient in base64 only: ASCII white space is left out, as the WHATWG Fetch
Standard does, because mail encoders wrap their lines; padding may be missing,
and both alphabets will do.

They may have megabytes, and a thread that decodes them must not hold
the interpreter up: a piece at a time takes less than a millisecond.
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Iterator

_HEAD = re.compile(r"data:([^,]{0,1024}),", re.IGNORECASE)
_PARAMETERS = re.compile(r"[^\x00-\x20\x7f-\U0010ffff,]*")
# RFC 4648, 5: the alphabet for URLs and file names.
_TO_PLAIN = bytes.maketrans(b"-_", b"+/")
_WHITE_SPACE = b"\t\n\f\r "
_BROKEN_ESCAPE = re.compile(rb"%(?![0-9A-Fa-f]{2})")
# What a URL can't hold as it is (RFC 3986, 2): everything else is escaped.
_NOT_IN_A_URL = re.compile(rb"[^\x21-\x7e]")

# A multiple of four, as the groups of base64.
_PIECE_BYTES = 65_536
_ESCAPE_BYTES = 3


class InvalidDataUrl(ValueError):
    """Not a well-formed data URL."""


class DataUrlTooLarge(ValueError):
    """The data URL has more bytes than are accepted; it was not decoded."""


def is_data_url(text: str) -> bool:
    """Return whether *text* has the scheme of a data URL."""
    return text[:5].lower() == "data:"


def read_data_url(text: str, *, max_bytes: int | None = None) -> bytes:
    """Return the bytes that *text* stands for, whatever type it claims.

    Raises `InvalidDataUrl`, or `DataUrlTooLarge` before it decodes more than
    *max_bytes*.
    """
    head = _HEAD.match(text)
    if head is None or not _PARAMETERS.fullmatch(head[1]):
        raise InvalidDataUrl("It must be data:, a media type, a comma and the data.")
    try:
        payload = text[head.end() :].encode("ascii")
    except UnicodeEncodeError:
        raise InvalidDataUrl("The data has characters that are not ASCII.") from None
    if head[1].lower().endswith(";base64"):
        return _base64(payload, max_bytes)
    if any(map(_NOT_IN_A_URL.search, _pieces(payload))):
        raise InvalidDataUrl("The data has characters that must be escaped.")
    _bound(len(payload) - 2 * payload.count(b"%"), max_bytes)
    return _unescaped(payload)


def _base64(payload: bytes, max_bytes: int | None) -> bytes:
    payload = _unescaped(payload)
    if any(white in payload for white in _WHITE_SPACE):
        lines = (piece.translate(None, _WHITE_SPACE) for piece in _pieces(payload))
        payload = b"".join(lines)
    bare = payload.rstrip(b"=")
    padding = -len(bare) % 4
    # Padding within would be the end of a piece of its own.
    if b"=" in bare or len(payload) - len(bare) not in {0, padding}:
        raise InvalidDataUrl("The data is not base64.")
    payload = b"".join((bare.translate(_TO_PLAIN), b"=" * padding))
    _bound(len(payload) // 4 * 3 - padding, max_bytes)
    try:
        return b"".join(
            [binascii.a2b_base64(piece, strict_mode=True) for piece in _pieces(payload)]
        )
    except binascii.Error:
        raise InvalidDataUrl("The data is not base64.") from None


def _unescaped(payload: bytes) -> bytes:
    """Percent-decode *payload*, all of whose escapes must be whole."""
    if b"%" not in payload:
        return payload
    return b"".join([_decoded(piece) for piece in _pieces(payload)])


def _decoded(piece: bytes) -> bytes:
    if _BROKEN_ESCAPE.search(piece):
        raise InvalidDataUrl("A percent sign starts no escape.")
    # Python's own splits at each escape, which takes a second and 300 MB for
    # eight million of them. Quoted-printable has the same ones behind an `=`.
    return binascii.a2b_qp(piece.replace(b"=", b"%3D").replace(b"%", b"="))


def _pieces(payload: bytes) -> Iterator[bytes]:
    """Yield *payload* in pieces, none of which ends within an escape."""
    at = 0
    while at < len(payload):
        end = at + _PIECE_BYTES
        escape = payload.rfind(b"%", end - _ESCAPE_BYTES + 1, end)
        if escape != -1:
            end = escape + _ESCAPE_BYTES
        yield payload[at:end]
        at = end


def _bound(size: int, max_bytes: int | None) -> None:
    if max_bytes is not None and size > max_bytes:
        raise DataUrlTooLarge(f"The data has more than {max_bytes} bytes.")
