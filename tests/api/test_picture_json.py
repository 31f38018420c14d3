"""JSON that is read as it arrives has the same meaning as in one piece."""

from __future__ import annotations

import base64
import json
import re
from itertools import pairwise
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote_to_bytes

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from app.api.picture_json import PictureJson
from app.errors import ServiceError
from app.http.http_errors import MalformedRequest, PayloadTooLarge
from app.http.json_bodies import MAX_JSON_BYTES, parse_object
from app.transient_images import DataUrl, InvalidDataUrl

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

NAME = "image_url"
MIB = 1024 * 1024
INVALID = "no data URL"


def read(chunks: Iterable[bytes], max_image_bytes: int = MIB) -> Any:
    """Return the document in *chunks* parsed, or its error."""
    reader = PictureJson(NAME, max_image_bytes)
    try:
        for chunk in chunks:
            reader.add(chunk)
        return with_bytes(reader.document(), bytes_of)
    except ServiceError as error:
        return type(error), error.detail


def read_whole(body: bytes) -> Any:
    """Return *body* as the parser reads it and the library decodes it."""
    try:
        return with_bytes(parse_object(body), library_bytes_of)
    except ServiceError as error:
        return type(error), error.detail


def with_bytes(value: Any, decode: Callable[[Any], Any]) -> Any:
    """Return *value* with *decode* of all that stands under `image_url`."""
    if isinstance(value, list):
        return [with_bytes(one, decode) for one in value]
    if not isinstance(value, dict):
        return value
    return {
        key: decode(one)
        if key == NAME and isinstance(one, str | DataUrl)
        else with_bytes(one, decode)
        for key, one in value.items()
    }


def bytes_of(value: str | DataUrl) -> Any:
    """Return the bytes of a data URL; a text is no data URL."""
    if isinstance(value, str):
        return value
    try:
        return value.read()
    except InvalidDataUrl:
        return INVALID


def library_bytes_of(text: str) -> Any:
    """Return the bytes of a data URL as the standard library decodes them."""
    if text[:5].lower() != "data:":
        return text
    head, comma, data = text[5:].partition(",")
    is_well_formed = (
        comma
        and re.fullmatch(r"[!-~]{0,1024}", head)
        and data.isascii()
        and not re.search(r"%(?![0-9A-Fa-f]{2})", data)
    )
    if not is_well_formed:
        return INVALID
    if head.lower().endswith(";base64"):
        return library_base64(unquote_to_bytes(data))
    return unquote_to_bytes(data) if re.fullmatch("[!-~]*", data) else INVALID


def library_base64(data: bytes) -> Any:
    """Return the bytes that *data* stands for, which may lack its padding."""
    packed = re.sub(rb"[\t\n\f\r ]", b"", data)
    packed = packed.translate(bytes.maketrans(b"-_", b"+/"))
    bare = packed.rstrip(b"=")
    if len(packed) - len(bare) not in {0, -len(bare) % 4}:
        return INVALID
    try:
        return base64.b64decode(bare + b"=" * (-len(bare) % 4), validate=True)
    except ValueError:
        return INVALID


KEYS = st.sampled_from(
    [NAME, NAME, NAME, "prompt", f'"{NAME}', f"{NAME} ", f"\\{NAME}", "data:,", "é"]
)
PAYLOADS = st.one_of(
    st.binary(max_size=40).map(lambda data: base64.b64encode(data).decode()),
    st.binary(max_size=40).map(lambda data: base64.urlsafe_b64encode(data).decode()),
    st.text("QUJD/+-_= \n%2Bb3é!,😀", max_size=24),
)
DATA_URLS = st.builds(
    "{}{}{}".format,
    st.sampled_from(["data:", "DaTa:", "data", ""]),
    st.sampled_from(["image/png;base64,", ";BASE64,", "image/png,", ",", ""]),
    PAYLOADS,
)
VALUES: st.SearchStrategy[Any] = st.recursive(
    st.one_of(
        DATA_URLS,
        DATA_URLS,
        st.none(),
        st.text('aé"\\/,:{}[]\n', max_size=8),
        st.integers(),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(KEYS, inner, max_size=4),
    ),
    max_leaves=6,
)
DOCUMENTS = st.dictionaries(KEYS, VALUES, max_size=4)
DAMAGE = st.sampled_from(
    [b"", b'"', b"\\", b"\\u12", b"{", b",", b":", b"\x00", b"\xff", b"\xf0\x9f", b"1"]
)


class Writer:
    """Writes JSON with the white space and the escapes that *draw* chooses."""

    def __init__(self, draw: Callable[[st.SearchStrategy[Any]], Any]) -> None:
        self._draw = draw

    def written(self, value: Any) -> str:
        """Return *value* as JSON."""
        if isinstance(value, str):
            return self._text(value)
        if isinstance(value, list):
            return f"[{','.join(map(self._spaced, value))}]"
        if isinstance(value, dict):
            pairs = (
                f"{self._spaced(key)}:{self._spaced(one)}" for key, one in value.items()
            )
            return f"{{{','.join(pairs)}}}"
        return json.dumps(value)

    def _spaced(self, value: Any) -> str:
        before = self._draw(st.sampled_from(["", " ", "\r\n\t", " " * 40]))
        after = self._draw(st.sampled_from(["", "", " " * 20]))
        return f"{before}{self.written(value)}{after}"

    def _text(self, text: str) -> str:
        style = self._draw(st.sampled_from(["plain", "PHP", "ASCII", "escaped"]))
        written = json.dumps(text, ensure_ascii=style != "plain")
        if style == "PHP":
            return written.replace("/", "\\/")
        if style == "escaped" and "\\" not in written:
            at = self._draw(st.integers(0, len(text)))
            escaped = "".join(f"\\u{ord(one):04X}" for one in text[at:])
            return f'"{text[:at]}{escaped}"'
        return written


@st.composite
def bodies(draw: Callable[[st.SearchStrategy[Any]], Any]) -> bytes:
    """Return a document as bytes, which may be damaged somewhere."""
    body = Writer(draw).written(draw(DOCUMENTS)).encode()
    if draw(st.booleans()):
        at = draw(st.integers(0, len(body)))
        length = draw(st.integers(0, 2))
        body = body[:at] + draw(DAMAGE) + body[at + length :]
    return body


@given(bodies(), st.lists(st.integers(0, 600), max_size=6))
@example(b'{"image_url":"data:;base64,\\u0051Q=="}', list(range(40)))
@example(b'{"image_url":"data:\\/,\\ud83d\\ude00"}', list(range(40)))
@example(b'{"image_url":"data:,a","image_url":"data:,b"}', [])
@example(b'\xef\xbb\xbf{"image_url":"data:,a"}', [1])
@example(b'{"\\"image_url":"data:,a"}', [2, 3])
@example(b'{"image_\\u0075rl":"\\u0064ata:,a"}', [])
@example(b'{"image_url"' + b" " * 100 + b':"data:,a"}', [60])
@example(b'{"image_url":"data:,' + "é".encode() + b'"}', list(range(40)))
def test_a_document_in_chunks_means_what_it_means_whole(
    body: bytes, edges: list[int]
) -> None:
    """A document means the same, or is the same error, wherever it is cut."""
    cuts = [0, *sorted(min(edge, len(body)) for edge in edges), len(body)]
    chunks = [body[start:end] for start, end in pairwise(cuts) if end > start]

    assert read(chunks) == read_whole(body)


@pytest.mark.parametrize("size", [99, 100, 101, 100_000])
@pytest.mark.parametrize("head", ["data:image/png;base64,", "data:,"])
def test_a_picture_is_refused_as_soon_as_it_is_too_large(head: str, size: int) -> None:
    """The bound counts decoded bytes, whatever the rest of the body is."""
    data = b"a" * size
    encoded = base64.b64encode(data) if "base64" in head else data
    body = b'{"image_url":"%b%b"' % (head.encode(), encoded)
    refusal = PayloadTooLarge.for_picture(100)

    answer = read([body], max_image_bytes=100)
    whole = read([body, b"}"], max_image_bytes=100)

    if size > 100:
        assert answer == whole == (PayloadTooLarge, refusal.detail)
    else:
        assert answer[0] is MalformedRequest
        assert whole == {NAME: data}


def test_what_is_no_picture_is_bounded() -> None:
    """A text of more than a mebibyte is 413, and many values are 400."""
    text = b'{"user":"' + b"a" * MAX_JSON_BYTES
    values = b'{"user":[' + b"0," * MAX_JSON_BYTES
    before_a_picture = b'{"a":"%b","image_url":"data:,' % (b"a" * MAX_JSON_BYTES)

    assert read([text])[0] is PayloadTooLarge
    assert read([before_a_picture])[0] is PayloadTooLarge
    assert read([values])[0] is MalformedRequest


def test_hundreds_of_pictures_are_read_all_the_same() -> None:
    """Pictures that are decoded at the end are the same as those decoded before."""
    pictures = [{NAME: f"data:,{number}"} for number in range(300)]
    body = json.dumps({"images": pictures}).encode()

    document = read([body[:1000], body[1000:]])

    assert document == {"images": [{NAME: b"%d" % number} for number in range(300)]}


def test_no_mark_can_be_known_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same picture has another mark in each document, and an old one is a text."""
    parsed: list[bytes] = []

    def noting(body: bytes, *rest: Any) -> dict[str, Any]:
        parsed.append(body)
        return parse_object(body, *rest)

    monkeypatch.setattr("app.api.picture_json.parse_object", noting)
    for _ in range(2):
        read([b'{"image_url":"data:,a"}'])

    assert parsed[0] != parsed[1]
    assert read([parsed[0]]) == json.loads(parsed[0])
