"""The errors that the HTTP parser's refusals become, named for the caller.

The parser says which bytes it could not read. Those are never repeated, but a
field that is too large is named: a browser's user can delete that cookie.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from aiohttp.http_exceptions import InvalidURLError, LineTooLong

from app import urls
from app.http.http_errors import HeadersTooLarge, MalformedHead, UriTooLong

if TYPE_CHECKING:
    from app.errors import ServiceError

MAX_TARGET_BYTES = 65_536

# As much as the largest cookies of one host, which all its ports share.
MAX_FIELD_BYTES = 32_768
MAX_FIELDS = 100

# All of a request's head: what a connection holds before its caller is known.
MAX_HEAD_BYTES = 262_144

_FIELD_NAME = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_NAME_CHARACTERS = 64

# The method and the path of a request line, whose target may be an address.
_PATH = re.compile(rb"[\r\n]*[!-~]+ (?:https?://[^/?# \r\n]*)?(/[^/?# \r\n]*/?)")
_BEGINNING_BYTES = 1024


class HeadTooLong(LineTooLong):
    """The head as a whole has too many bytes, each of its fields may be small."""


class UnfinishedHead:
    """A head that has come in part: how it begins, and the line that is not over."""

    __slots__ = ("beginning", "line", "size")

    def __init__(self) -> None:
        self.size = 0
        self.beginning = b""
        self.line = b""

    def add(self, data: bytes) -> None:
        """Note that *data* has come."""
        self.begin(data)
        self.size += len(data)
        _, newline, after = data.rpartition(b"\n")
        self.line = after if newline else self.line + data

    def begin(self, data: bytes) -> None:
        """Keep of *data* what belongs to the beginning."""
        missing = _BEGINNING_BYTES - len(self.beginning)
        self.beginning += data[:missing]

    @property
    def is_openai(self) -> bool:
        """Whether what has come asks for a path of OpenAI's API."""
        found = _PATH.match(self.beginning)
        return found is not None and urls.is_openai(found[1].decode("latin-1"))


def refusal_of(error: BaseException | None, head: bytes) -> ServiceError:
    """Return the caller's error for *error*, which was met at the end of *head*."""
    if isinstance(error, HeadTooLong):
        return HeadersTooLarge(
            f"The head of a request may have {MAX_HEAD_BYTES} bytes."
        )
    if isinstance(error, LineTooLong) and error.args[1] == MAX_TARGET_BYTES:
        return UriTooLong(f"The request target may have {MAX_TARGET_BYTES} bytes.")
    if isinstance(error, LineTooLong):
        name = _too_large(head) or "A field"
        return HeadersTooLarge(f"{name} has more than {MAX_FIELD_BYTES} bytes.")
    if isinstance(error, InvalidURLError) or _has_raw_target(head):
        return MalformedHead(
            "The request target can't be read: percent-encode what is not ASCII, "
            "and spaces."
        )
    return MalformedHead("This is not HTTP as the service reads it.")


def _too_large(head: bytes) -> str | None:
    for line in head.split(b"\r\n"):
        name, colon, value = line.partition(b":")
        is_too_large = len(name) + len(value.lstrip()) > MAX_FIELD_BYTES
        if colon and is_too_large and _FIELD_NAME.fullmatch(name):
            return name.decode()[:_NAME_CHARACTERS]
    return None


def _has_raw_target(head: bytes) -> bool:
    """Return whether a request line in *head* has a target that is not encoded."""
    for line in head.split(b"\r\n"):
        method, _, rest = line.partition(b" ")
        target = rest.removesuffix(b" HTTP/1.1").removesuffix(b" HTTP/1.0")
        is_raw = not target.isascii() or (target != rest and b" " in target)
        if is_raw and method.isalpha() and method.isupper():
            return True
    return False
