"""Bodies with pictures in them, and answers that are almost JSON."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.errors import BadImage
from app.generation.providers.replicate.predictions import _address_in
from app.generation.transport.base64_pictures import decode_base64
from app.generation.transport.documents import parse_json
from app.generation.transport.json_bodies import Inlined, JsonBody

MIB = 1024 * 1024
LINK = "https://replicate.delivery/x/out.png"


@given(
    pictures=st.lists(st.binary(max_size=9), max_size=4),
    prompt=st.text(max_size=30).filter(lambda text: text.isprintable()),
)
def test_a_body_is_the_json_of_its_document(pictures: list[bytes], prompt: str) -> None:
    """Its length is known before a byte of base64 is made."""
    inlined = [Inlined(data, "image/png") for data in pictures]
    body = JsonBody({"prompt": prompt, "images": inlined, "one": Inlined(b"ab")})

    text = body.decode()

    assert body.size == len(text.encode())
    encoded = [base64.b64encode(data).decode() for data in pictures]
    assert json.loads(text) == {
        "prompt": prompt,
        "images": [f"data:image/png;base64,{one}" for one in encoded],
        "one": "YWI=",
    }


class Writer:
    """A stream that takes what it is given, and says what the longest wait was."""

    def __init__(self) -> None:
        self.size = 0
        self.longest = 0.0
        self._last = time.perf_counter()

    async def write(self, chunk: bytes) -> None:
        """Take *chunk*, and let others run."""
        self.size += len(chunk)
        self.longest = max(self.longest, time.perf_counter() - self._last)
        await asyncio.sleep(0)
        self._last = time.perf_counter()


async def test_sixteen_large_references_never_stop_the_loop() -> None:
    """64 MiB of pictures are 85 MiB of base64, a slice of it at a time."""
    document = {"images": [Inlined(bytes(4 * MIB), "image/png")] * 16}
    writer = Writer()

    body = JsonBody(document)
    await body.write(writer)  # type: ignore[arg-type]

    assert writer.size == body.size
    assert writer.size > 85 * MIB
    assert writer.longest < 0.05  # a stall of the loop above it is a fault


@pytest.mark.parametrize(
    ("body", "document"),
    [
        (b'\xef\xbb\xbf{"a": 1}', {"a": 1}),
        (b'{"a": NaN, "b": [Infinity, -Infinity]}', {"a": None, "b": [None, None]}),
        (b'{"a": "NaN", "b":NaN}', {"a": "NaN", "b": None}),
        (b'{"a": NaNny}', None),
        (b"NaN", None),
        (b"\xef\xbb\xbf", None),
    ],
)
def test_what_is_almost_json_is_read(body: bytes, document: Any) -> None:
    """Python's servers write NaN, and Windows a byte order mark."""
    assert parse_json(body) == document


async def test_base64_is_read_with_and_without_padding() -> None:
    """In both alphabets; what can't be base64 at all is refused."""
    for text in ("-_8=", "-_8", "+/8=", "+/8", "data:image/png;base64,+/8"):
        assert await decode_base64(text, limit_bytes=9) == b"\xfb\xff"
    for text in ("AAAAA", "AA=A", "=", "!"):
        with pytest.raises(BadImage):
            await decode_base64(text, limit_bytes=9)


@pytest.mark.parametrize(
    "output",
    [
        LINK,
        [LINK],
        ["a lighthouse", LINK],
        {"image": LINK},
        {"images": [LINK]},
        [{"image": LINK}],
        {"seed": 7, "images": [{"url": LINK}, {"url": "https://other.example"}]},
    ],
)
def test_the_first_address_in_an_output_is_the_picture(output: object) -> None:
    """Whatever form a model gives its output."""
    assert _address_in(output) == LINK


@pytest.mark.parametrize("output", [None, [], {}, ["two", "texts"], 7, [[[[]]]]])
def test_an_output_without_an_address_is_no_picture(output: object) -> None:
    """It was paid for, and is not asked for again."""
    with pytest.raises(BadImage):
        _address_in(output)
