"""Data URLs (RFC 2397), read strictly, and as they come. Pure.

Lenient in base64 only: ASCII white space is left out, as the WHATWG Fetch
Standard does, because mail encoders wrap their lines; padding may be missing,
and both alphabets will do.
"""

from __future__ import annotations

import binascii
import math
import re

from app.gathered_bytes import GatheredBytes, TooManyBytes

# A media type and its parameters: visible ASCII.
_HEAD = re.compile(r"(?i:data):([!-+\--~]{0,1024}),")
_LONGEST_HEAD = len("data:") + 1024
# RFC 4648, 5: the alphabet for URLs and file names.
_TO_PLAIN = bytes.maketrans(b"-_", b"+/")
_WHITE_SPACE = b"\t\n\f\r "
# Each hexadecimal digit becomes an F, to count whole escapes.
_TO_F = bytes.maketrans(b"0123456789abcdefABCDE", b"F" * 21)
# What a URL can hold as it is (RFC 3986, 2): everything else is escaped.
_VISIBLE = bytes(range(0x21, 0x7F))
_PIECE_CHARACTERS = 65_536


class InvalidDataUrl(ValueError):
    """Not a well-formed data URL."""


def is_data_url(text: str) -> bool:
    """Return whether *text* has the scheme of a data URL."""
    return text[:5].lower() == "data:"


def read_data_url(text: str, *, max_bytes: float = math.inf) -> bytes:
    """Return the bytes that *text* stands for, whatever type it claims.

    Raises `InvalidDataUrl`, or `TooManyBytes` beyond *max_bytes*.
    """
    # It can't have more bytes than characters.
    url = DataUrl(int(min(max_bytes, len(text))))
    for at in range(0, len(text), _PIECE_CHARACTERS):
        url.add(text[at : at + _PIECE_CHARACTERS])
    url.add("", is_last=True)
    return url.read()


class DataUrl:
    """A data URL that comes in pieces, and stands for at most *max_bytes*.

    Its bytes are decoded as they come. What is malformed is not kept, and counts
    all the same.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._head = ""
        self._decoder: _Base64 | _Escaped | None = None
        self._gathered = GatheredBytes(max_bytes)
        self._data = b""
        self._error: InvalidDataUrl | None = None
        self._malformed_bytes = 0

    def add(self, text: str, *, is_last: bool = False) -> None:
        """Decode the next piece; raises `TooManyBytes`."""
        if self._error is not None:
            self._count_malformed(text)
            return
        try:
            self._decode(text, is_last=is_last)
        except InvalidDataUrl as error:
            self._error = error
            self._gathered = GatheredBytes(0)

    def read(self) -> bytes:
        """Return the bytes, once the last piece was added; raises `InvalidDataUrl`."""
        if self._error is not None:
            raise self._error
        return self._data

    def _decode(self, text: str, *, is_last: bool) -> None:
        if self._decoder is None:
            text = self._begin(text)
        if self._decoder is not None:
            self._gathered.add(self._decoder.decode(_ascii(text)))
            if is_last:
                self._gathered.add(self._decoder.end())
                self._data = self._gathered.value()
        elif is_last:
            raise _no_head()

    def _begin(self, text: str) -> str:
        """Return the text after the head, once *text* has brought its end."""
        self._head += text
        if "," not in self._head and len(self._head) <= _LONGEST_HEAD:
            return ""
        head = _HEAD.match(self._head)
        if head is None:
            raise _no_head()
        is_base64 = head[1].lower().endswith(";base64")
        self._decoder = _Base64() if is_base64 else _Escaped()
        return self._head[head.end() :]

    def _count_malformed(self, text: str) -> None:
        self._malformed_bytes += len(text) * 3 // 4
        if self._malformed_bytes > self._max_bytes:
            raise TooManyBytes(self._max_bytes)


class _Escaped:
    """Data as visible ASCII with percent escapes (RFC 3986, 2.1)."""

    def __init__(self) -> None:
        self._escapes = _Escapes()

    def decode(self, piece: bytes) -> bytes:
        if piece.translate(None, _VISIBLE):
            raise InvalidDataUrl("The data has characters that must be escaped.")
        return self._escapes.decode(piece)

    def end(self) -> bytes:
        self._escapes.end()
        return b""


class _Base64:
    """Data in base64, which may have percent escapes as well."""

    def __init__(self) -> None:
        self._escapes = _Escapes()
        self._group = b""
        self._padding = 0

    def decode(self, piece: bytes) -> bytes:
        piece = self._escapes.decode(piece).translate(_TO_PLAIN, _WHITE_SPACE)
        bare = piece.rstrip(b"=")
        if bare and (self._padding or b"=" in bare):
            raise _no_base64()
        self._padding += len(piece) - len(bare)
        groups = self._group + bare
        whole = len(groups) // 4 * 4
        self._group = groups[whole:]
        return _decoded(groups[:whole])

    def end(self) -> bytes:
        self._escapes.end()
        missing = -len(self._group) % 4
        if self._padding not in {0, missing}:
            raise _no_base64()
        return _decoded(self._group + b"=" * missing)


class _Escapes:
    """Percent escapes in pieces, each of which may end within one."""

    def __init__(self) -> None:
        self._begun = b""

    def decode(self, piece: bytes) -> bytes:
        piece = self._begun + piece
        last = piece.rfind(b"%", -2)
        end = len(piece) if last == -1 else last
        self._begun = piece[end:]
        return _unescaped(piece[:end])

    def end(self) -> None:
        _unescaped(self._begun)


def _unescaped(piece: bytes) -> bytes:
    if b"%" not in piece:
        return piece
    # A regular expression takes three times as long as all the rest.
    if piece.translate(_TO_F).count(b"%FF") < piece.count(b"%"):
        raise InvalidDataUrl("A percent sign starts no escape.")
    # Python's own splits at each escape, which takes a second and 300 MB for
    # eight million of them. Quoted-printable has the same ones behind an `=`.
    return binascii.a2b_qp(piece.replace(b"=", b"%3D").replace(b"%", b"="))


def _decoded(groups: bytes) -> bytes:
    try:
        return binascii.a2b_base64(groups, strict_mode=True)
    except binascii.Error:
        raise _no_base64() from None


def _ascii(text: str) -> bytes:
    try:
        return text.encode("ascii")
    except UnicodeEncodeError:
        raise InvalidDataUrl("The data has characters that are not ASCII.") from None


def _no_head() -> InvalidDataUrl:
    return InvalidDataUrl("It must be data:, a media type, a comma and the data.")


def _no_base64() -> InvalidDataUrl:
    return InvalidDataUrl("The data is not base64.")
