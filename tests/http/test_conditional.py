from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict, CIMultiDictProxy

from app.http.conditional import (
    UNSATISFIABLE,
    Decision,
    Unsatisfiable,
    decide,
    format_date,
    parse_date,
    parse_range,
)
from app.storage.ports.object_store import ByteRange

ETAG = '"5f2c"'
PAINTED = datetime(2026, 3, 5, 7, 8, 9, 500_000, tzinfo=UTC)
PAINTED_TEXT = "Thu, 05 Mar 2026 07:08:09 GMT"
EARLIER = "Thu, 05 Mar 2026 07:08:08 GMT"
LATER = "Thu, 05 Mar 2026 07:08:10 GMT"
SIZE = 1000


def decided(*headers: tuple[str, str], method: str = "GET") -> Decision:
    """Decide for the picture of this module."""
    proxy = CIMultiDictProxy(CIMultiDict(headers))
    return decide(method, proxy, etag=ETAG, last_modified=PAINTED, size=SIZE)


@pytest.mark.parametrize(
    ("tags", "status"),
    [
        (ETAG, 304),
        ("*", 304),
        (f"W/{ETAG}", 304),
        (f'"other", {ETAG}', 304),
        (f'"a,b",W/"c" ,, {ETAG} , "d"', 304),
        (f"  {ETAG}\t", 304),
        ('"other"', 200),
        ("5f2c", 200),
        (f'{ETAG} "other"', 200),
        (f"w/{ETAG}", 200),
        (f'"*", "x{ETAG[1:]}', 200),
        ('"', 200),
        ("", 200),
        (f"*, {ETAG}", 200),
    ],
)
def test_a_client_that_has_the_picture_gets_304(tags: str, status: int) -> None:
    """A matching If-None-Match is 304; tags are compared weakly, in lists too."""
    assert decided(("If-None-Match", tags)).status == status
    assert decided(("If-None-Match", tags), method="HEAD").status == status


def test_tags_on_several_lines_are_one_list() -> None:
    """If-None-Match on several lines is read as one list."""
    assert decided(("If-None-Match", '"a"'), ("If-None-Match", ETAG)).status == 304


@pytest.mark.parametrize(
    ("since", "status"),
    [
        (PAINTED_TEXT, 304),
        (LATER, 304),
        (EARLIER, 200),
        ("Thursday, 05-Mar-26 07:08:09 GMT", 304),
        ("Thu Mar  5 07:08:09 2026", 304),
        ("Thu, 05 Mar 2026 07:08:09 +0000", 200),
        ("2026-03-05T07:08:09Z", 200),
        ("yesterday", 200),
        ("", 200),
    ],
)
def test_a_date_decides_about_304(since: str, status: int) -> None:
    """If-Modified-Since is read in all three date forms; anything else is ignored."""
    assert decided(("If-Modified-Since", since)).status == status


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ([("If-Match", ETAG)], 200),
        ([("If-Match", "*")], 200),
        ([("If-Match", '"other"'), ("If-Match", ETAG)], 200),
        ([("If-Match", f"W/{ETAG}")], 412),
        ([("If-Match", '"other"')], 412),
        ([("If-Match", "nonsense")], 412),
        ([("If-Unmodified-Since", PAINTED_TEXT)], 200),
        ([("If-Unmodified-Since", LATER)], 200),
        ([("If-Unmodified-Since", EARLIER)], 412),
        ([("If-Unmodified-Since", "yesterday")], 200),
        ([("If-Match", ETAG), ("If-Unmodified-Since", EARLIER)], 200),
        ([("If-Match", '"other"'), ("If-None-Match", ETAG)], 412),
        ([("If-Match", ETAG), ("If-None-Match", ETAG)], 304),
        ([("If-Match", '"other"'), ("Range", "bytes=0-1")], 412),
    ],
)
def test_a_picture_that_is_another_one_is_412(
    headers: list[tuple[str, str]], status: int
) -> None:
    """A failed If-Match or If-Unmodified-Since is 412; tags are compared strongly."""
    assert decided(*headers).status == status
    assert decided(*headers, method="POST").status == 200


def test_a_tag_outranks_the_date() -> None:
    """If-None-Match outranks If-Modified-Since."""
    headers = ("If-None-Match", '"other"'), ("If-Modified-Since", LATER)

    assert decided(*headers).status == 200


def test_a_repeated_date_is_ignored() -> None:
    """A repeated If-Modified-Since is ignored."""
    headers = ("If-Modified-Since", LATER), ("If-Modified-Since", LATER)

    assert decided(*headers).status == 200


RANGES = [
    ("bytes=0-0", ByteRange(0, 0)),
    ("bytes=0-", ByteRange(0, 999)),
    ("bytes=10-19", ByteRange(10, 19)),
    ("bytes=999-999", ByteRange(999, 999)),
    ("bytes=990-5000", ByteRange(990, 999)),
    ("bytes=-1", ByteRange(999, 999)),
    ("bytes=-1000", ByteRange(0, 999)),
    ("bytes=-5000", ByteRange(0, 999)),
    ("Bytes=5-6", ByteRange(5, 6)),
    ("bytes=007-008", ByteRange(7, 8)),
    (f"bytes=0-{'9' * 5000}", ByteRange(0, 999)),
    (f"bytes=-{'9' * 5000}", ByteRange(0, 999)),
    (f"bytes={'0' * 5000}1-2", ByteRange(1, 2)),
    ("bytes=1000-", UNSATISFIABLE),
    ("bytes=1000-2000", UNSATISFIABLE),
    (f"bytes={'9' * 5000}-", UNSATISFIABLE),
    ("bytes=-0", UNSATISFIABLE),
    ("bytes=-", None),
    ("bytes=", None),
    ("bytes=2-1", None),
    (f"bytes={'9' * 5001}-{'9' * 5000}", None),
    ("bytes=0-1,2-3", None),
    ("bytes=0-1,", None),
    ("bytes= 0-1", None),
    ("bytes=0 -1", None),
    ("bytes 0-1", None),
    ("bytes=-1-2", None),
    ("bytes=+1-2", None),
    ("bytes=1.0-2", None),
    ("bytes=0x1-2", None),
    ("bytes=\u0661-\u0662", None),
    ("bytes=\u00b2-", None),
    ("items=0-1", None),
    ("0-1", None),
    ("", None),
]


@pytest.mark.parametrize(("text", "expected"), RANGES)
def test_one_range_of_bytes_is_understood(
    text: str, expected: ByteRange | Unsatisfiable | None
) -> None:
    """A single range is cut to the picture, and any other Range is ignored."""
    assert parse_range([text], SIZE) == expected


def test_a_range_decides_the_status() -> None:
    """A range is 206, one beyond the end 416, and a malformed one 200."""
    partial, beyond = decided(("Range", "bytes=5-9")), decided(("Range", "bytes=1000-"))

    assert (partial.status, partial.byte_range) == (206, ByteRange(5, 9))
    assert partial.content_range(SIZE) == "bytes 5-9/1000"
    assert (beyond.status, beyond.content_range(SIZE)) == (416, "bytes */1000")
    assert decided(("Range", "lines=1-2")) == Decision(200)
    assert decided(("Range", "bytes=0-1"), ("Range", "bytes=4-5")) == Decision(200)
    assert Decision(200).content_range(SIZE) is None


def test_304_comes_before_a_range() -> None:
    """A matching If-None-Match is 304 even with a range beyond the end."""
    assert decided(("If-None-Match", "*"), ("Range", "bytes=9999-")).status == 304


@pytest.mark.parametrize(
    ("validator", "status"),
    [
        (ETAG, 206),
        (PAINTED_TEXT, 206),
        (f"W/{ETAG}", 200),
        ('"other"', 200),
        (EARLIER, 200),
        (LATER, 200),
        ("*", 200),
        ("nonsense", 200),
        (f"{ETAG}, {ETAG}", 200),
    ],
)
def test_a_part_is_of_the_same_picture_only(validator: str, status: int) -> None:
    """If-Range needs the strong tag or the exact date, else the answer is whole."""
    assert decided(("Range", "bytes=0-1"), ("If-Range", validator)).status == status


def test_a_failed_if_range_hides_an_unsatisfiable_range() -> None:
    """A failed If-Range is 200, even with a range beyond the end."""
    headers = ("Range", "bytes=5000-"), ("If-Range", '"other"')

    assert decided(*headers).status == 200


def test_other_methods_have_neither() -> None:
    """A POST ignores conditions and ranges, and a HEAD ignores ranges."""
    headers = ("If-None-Match", "*"), ("Range", "bytes=0-1")

    assert decided(*headers, method="POST") == Decision(200)
    assert decided(("Range", "bytes=0-1"), method="HEAD") == Decision(200)


@given(st.integers(0, 10**30), st.integers(0, 10**30), st.integers(0, 10**9))
def test_a_range_never_leaves_the_picture(first: int, last: int, size: int) -> None:
    """Any range is cut to bytes that the picture has."""
    for text in (f"bytes={first}-{last}", f"bytes={first}-", f"bytes=-{last}"):
        found = parse_range([text], size)

        if isinstance(found, ByteRange):
            assert 0 <= found.first <= found.last < size
        elif found is UNSATISFIABLE:
            assert size == 0 or first >= size or last == 0
        else:
            assert first > last


@given(st.text(max_size=60), st.sampled_from(["Range", "If-Range", "If-None-Match"]))
def test_no_header_is_too_strange(text: str, name: str) -> None:
    """Any header values give 200, 206, 304 or 416."""
    headers = ("Range", "bytes=0-9"), (name, text), ("If-Modified-Since", text)

    assert decided(*headers).status in {200, 206, 304, 416}


@given(
    st.datetimes(datetime(1970, 1, 1), datetime(9999, 12, 30)),  # noqa: DTZ001 - made aware below
    st.integers(-14, 14),
)
def test_a_date_survives_being_written_and_read(moment: datetime, hours: int) -> None:
    """A formatted date is parsed to the same second."""
    aware = moment.replace(tzinfo=UTC) + timedelta(hours=hours % 2)

    assert parse_date(format_date(aware)) == aware.replace(microsecond=0)
