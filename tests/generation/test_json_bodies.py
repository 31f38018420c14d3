"""JSON bodies with pictures in them, and answers that are almost JSON."""

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
    """A streamed body is valid JSON of the size known before."""
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
    """A stream that measures the longest wait between writes."""

    def __init__(self) -> None:
        self.size = 0
        self.longest = 0.0
        self._last = time.perf_counter()

    async def write(self, chunk: bytes) -> None:
        """Record *chunk*, and let other tasks run."""
        self.size += len(chunk)
        self.longest = max(self.longest, time.perf_counter() - self._last)
        await asyncio.sleep(0)
        self._last = time.perf_counter()


async def test_sixteen_large_references_never_stop_the_loop() -> None:
    """Encoding 64 MiB of references never blocks the loop for 50 ms."""
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
    """JSON with NaN or a byte order mark is read."""
    assert parse_json(body) == document


async def test_base64_is_read_with_and_without_padding() -> None:
    """Base64 is decoded in both alphabets, and without padding."""
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
    """The first address in a model's output is the picture's."""
    assert _address_in(output) == LINK


@pytest.mark.parametrize("output", [None, [], {}, ["two", "texts"], 7, [[[[]]]]])
def test_an_output_without_an_address_is_no_picture(output: object) -> None:
    """An output without an address is a `BadImage`."""
    with pytest.raises(BadImage):
        _address_in(output)
