"""Conditional and range requests (RFC 9110, 13 and 14). Pure.

What is malformed is ignored, as the RFC wants it: the answer is the whole
picture. A malformed `If-Match` names no picture, so it fails.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import format_datetime
from enum import Enum
from functools import lru_cache
from typing import TYPE_CHECKING

from aiohttp import hdrs

from app.http.http_errors import PreconditionFailed, RangeNotSatisfiable
from app.storage.ports.object_store import ByteRange

if TYPE_CHECKING:
    from multidict import CIMultiDictProxy

    from app.errors import ServiceError

_OK, _PARTIAL, _NOT_MODIFIED = 200, 206, 304
_PRECONDITION_FAILED, _RANGE_NOT_SATISFIABLE = 412, 416

_TAG = re.compile(r'(W/)?("[\x21\x23-\x7e\x80-\U0010ffff]*")')
_BETWEEN = re.compile(r"[ \t]*(?:,[ \t]*)+")
_RANGE = re.compile(r"bytes=([0-9]*)-([0-9]*)", re.ASCII | re.IGNORECASE)

# More than any picture has; longer numbers are not read in full.
_ENDLESS = 10**18

# IMF-fixdate, and the two obsolete forms that recipients must understand.
_DATE_FORMS = (
    "%a, %d %b %Y %H:%M:%S GMT",
    "%A, %d-%b-%y %H:%M:%S GMT",
    "%a %b %d %H:%M:%S %Y",
)


class Unsatisfiable(Enum):
    """A range of which no byte is there."""

    UNSATISFIABLE = "unsatisfiable"


UNSATISFIABLE = Unsatisfiable.UNSATISFIABLE


@dataclass(frozen=True, slots=True)
class Decision:
    """The status of an answer: 200, 206 with its range, 304, 412 or 416."""

    status: int
    byte_range: ByteRange | None = None

    def content_range(self, size: int) -> str | None:
        """Return the `Content-Range` of a 206 or 416 for *size* bytes, else None."""
        if self.byte_range is not None:
            return f"bytes {self.byte_range.first}-{self.byte_range.last}/{size}"
        return f"bytes */{size}" if self.status == _RANGE_NOT_SATISFIABLE else None

    def refusal(self, size: int) -> ServiceError | None:
        """Return the error of a 412, or of a 416 for *size* bytes, else None."""
        if self.status == _PRECONDITION_FAILED:
            return PreconditionFailed("The picture is another one by now.")
        if self.status == _RANGE_NOT_SATISFIABLE:
            return RangeNotSatisfiable(size)
        return None


WHOLE = Decision(_OK)
NOT_MODIFIED = Decision(_NOT_MODIFIED)


def decide(
    method: str,
    headers: CIMultiDictProxy[str],
    *,
    etag: str,
    last_modified: datetime,
    size: int,
    may_be_unchanged: bool = True,
) -> Decision:
    """Return how a picture is answered that has these validators and *size* bytes.

    *etag* is strong, with its quotes; *last_modified* is aware, and counts in
    whole seconds. Unless it *may_be_unchanged*, for it was not there before the
    request, conditions are ignored. Only GET has ranges, and only GET and HEAD
    have conditions.
    """
    if (
        method not in {hdrs.METH_GET, hdrs.METH_HEAD}
        # Nearly everybody asks without any of them.
        or (
            hdrs.IF_NONE_MATCH not in headers
            and hdrs.IF_MODIFIED_SINCE not in headers
            and hdrs.RANGE not in headers
            and hdrs.IF_MATCH not in headers
            and hdrs.IF_UNMODIFIED_SINCE not in headers
        )
    ):
        return WHOLE
    if may_be_unchanged and _is_another(
        headers, etag=etag, last_modified=last_modified
    ):
        return Decision(_PRECONDITION_FAILED)
    if may_be_unchanged and is_not_modified(
        headers, etag=etag, last_modified=last_modified
    ):
        return NOT_MODIFIED
    if method == hdrs.METH_HEAD or not _range_applies(
        headers, etag=etag, last_modified=last_modified
    ):
        return WHOLE
    wanted = parse_range(headers.getall(hdrs.RANGE, []), size)
    if wanted is UNSATISFIABLE:
        return Decision(_RANGE_NOT_SATISFIABLE)
    return WHOLE if wanted is None else Decision(_PARTIAL, wanted)


def _is_another(
    headers: CIMultiDictProxy[str], *, etag: str, last_modified: datetime
) -> bool:
    """Return whether the caller wants other bytes: `If-Match`, else the date."""
    if hdrs.IF_MATCH in headers:
        tags = ", ".join(headers.getall(hdrs.IF_MATCH))
        return not _names(tags, etag, strongly=True)
    dates = headers.getall(hdrs.IF_UNMODIFIED_SINCE, [])
    since = parse_date(dates[0]) if len(dates) == 1 else None
    return since is not None and last_modified.replace(microsecond=0) > since


def is_not_modified(
    headers: CIMultiDictProxy[str], *, etag: str, last_modified: datetime
) -> bool:
    """Return whether the caller has these bytes: `If-None-Match`, else the date."""
    if hdrs.IF_NONE_MATCH in headers:
        return _names(", ".join(headers.getall(hdrs.IF_NONE_MATCH)), etag)
    if hdrs.IF_MODIFIED_SINCE not in headers:
        return False
    dates = headers.getall(hdrs.IF_MODIFIED_SINCE)
    since = parse_date(dates[0]) if len(dates) == 1 else None
    return since is not None and last_modified.replace(microsecond=0) <= since


def parse_range(lines: list[str], size: int) -> ByteRange | Unsatisfiable | None:
    """Return the one range of *lines* that is asked for, cut to *size* bytes.

    None for several ranges, other units and whatever is malformed.
    """
    match = _RANGE.fullmatch(lines[0].strip(" \t")) if len(lines) == 1 else None
    if match is None or match[1] == match[2] == "":
        return None
    first, last = _number(match[1]), _number(match[2])
    if match[1] == "":
        if last == 0 or size == 0:
            return UNSATISFIABLE
        return ByteRange(max(0, size - last), size - 1)
    if match[2] == "":
        last = _ENDLESS
    elif _is_below(match[2], match[1]):
        return None
    return UNSATISFIABLE if first >= size else ByteRange(first, min(last, size - 1))


def parse_date(text: str) -> datetime | None:
    """Return the HTTP-date that *text* is, or None."""
    if not text.isascii():
        return None
    for form in _DATE_FORMS:
        try:
            return datetime.strptime(text.strip(" \t"), form).replace(tzinfo=UTC)
        except ValueError:
            continue
    return None


@lru_cache(4096)
def format_date(moment: datetime) -> str:
    """Return *moment* (aware) as an HTTP-date, without its fraction of a second."""
    return format_datetime(moment.astimezone(UTC), usegmt=True)


def _range_applies(
    headers: CIMultiDictProxy[str], *, etag: str, last_modified: datetime
) -> bool:
    validators = headers.getall(hdrs.IF_RANGE, [])
    if not validators:
        return True
    if len(validators) > 1:
        return False
    # A weak tag never equals ours, which is strong.
    validator = validators[0].strip(" \t")
    return validator == etag or parse_date(validator) == last_modified.replace(
        microsecond=0
    )


def _names(tags: str, etag: str, *, strongly: bool = False) -> bool:
    """Return whether the list *tags* has *etag* (RFC 9110, 8.8.3.2).

    A weak tag is equal to ours, which is strong, unless they are compared *strongly*.
    """
    # Browsers send the one tag that they were given.
    if tags in {etag, "*"}:
        return True
    tags = tags.strip(", \t")
    if tags == "*":
        return True
    at, found = 0, False
    while at < len(tags):
        tag = _TAG.match(tags, at)
        if tag is None:
            return False
        found = found or (tag[2] == etag and not (strongly and tag[1]))
        comma = _BETWEEN.match(tags, tag.end())
        if comma is None:
            return found and tag.end() == len(tags)
        at = comma.end()
    return found


def _number(digits: str) -> int:
    """Return *digits* as a number, a very long one as `_ENDLESS`."""
    significant = digits.lstrip("0")
    return (
        int(significant or "0") if len(significant) < len(str(_ENDLESS)) else _ENDLESS
    )


def _is_below(one: str, other: str) -> bool:
    """Compare numbers of any length, without reading them."""
    one, other = one.lstrip("0"), other.lstrip("0")
    return (len(one), one) < (len(other), other)
