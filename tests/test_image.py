"""Checks of pictures: accepted formats, and refused bytes."""

from __future__ import annotations

import hashlib
import io
import struct
import time
import tracemalloc
import zlib
from contextlib import suppress
from typing import TYPE_CHECKING

import PIL.Image
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.errors import UnsupportedImage
from app.image import EXTENSIONS, MAX_PIXELS, MEDIA_TYPES, Image, sniff

if TYPE_CHECKING:
    from collections.abc import Callable

PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
ENCODERS = {
    "image/png": "PNG",
    "image/jpeg": "JPEG",
    "image/webp": "WEBP",
    "image/gif": "GIF",
    "image/avif": "AVIF",
}

MAGIC_LENGTHS = {
    "image/png": 8,
    "image/jpeg": 3,
    "image/webp": 14,
    "image/gif": 6,
    "image/avif": 32,
}


def encoded(media_type: str, size: tuple[int, int] = (48, 32)) -> bytes:
    """Return a gradient in the format of *media_type*."""
    picture = PIL.Image.linear_gradient("L").resize(size).convert("RGB")
    data = io.BytesIO()
    picture.save(data, ENCODERS[media_type])
    return data.getvalue()


def chunk(kind: bytes, body: bytes) -> bytes:
    """Return a PNG chunk with the right checksum."""
    checksum = zlib.crc32(kind + body)
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", checksum)


def png(width: int, height: int, pixels: bytes = b"") -> bytes:
    """Return a grey PNG whose header claims that size, whatever *pixels* are."""
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    body = chunk(b"IDAT", zlib.compress(pixels)) + chunk(b"IEND", b"")
    return PNG_MAGIC + chunk(b"IHDR", header) + body


@pytest.mark.parametrize("media_type", ENCODERS)
def test_every_accepted_format_is_recognised(media_type: str) -> None:
    """Type, size and digest of a picture are read from its bytes."""
    data = encoded(media_type)

    image = Image.inspect(data)

    assert image == Image(
        data, media_type, hashlib.sha256(data).hexdigest(), width=48, height=32
    )


def test_each_media_type_has_one_extension() -> None:
    """Media types and extensions map to each other one to one."""
    assert {MEDIA_TYPES[EXTENSIONS[name]]: name for name in ENCODERS} == {
        name: name for name in ENCODERS
    }


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x89PNG",
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        b"<!doctype html><title>Bad gateway</title>",
        b'{"error": {"message": "overloaded"}}',
        b"BM" + bytes(64),
        b"II*\x00" + bytes(64),
        b"%PDF-1.7\n",
        b"RIFF\x24\x00\x00\x00WAVEfmt ",
        b"\x00\x00\x00\x18ftypisom\x00\x00\x00\x00isommp42",
        b"\x00\x00\x00\x18ftypheic\x00\x00\x00\x00mif1heic",
        # The brand stands behind the end of the box that lists brands.
        b"\x00\x00\x00\x10ftypisom\x00\x00\x00\x00avif",
        b" " + PNG_MAGIC,
    ],
)
def test_other_bytes_are_no_picture(data: bytes) -> None:
    """Pages, documents, films and other picture formats are refused."""
    assert sniff(data) is None
    with pytest.raises(UnsupportedImage):
        Image.inspect(data)


@pytest.mark.parametrize("media_type", ENCODERS)
@pytest.mark.parametrize("rest", [b"", bytes(64), b"\xff" * 64, b"<script>" * 8])
def test_a_magic_number_alone_is_not_enough(media_type: str, rest: bytes) -> None:
    """A magic number before garbage is refused."""
    magic = encoded(media_type)[: MAGIC_LENGTHS[media_type]]
    assert sniff(magic) == media_type

    with pytest.raises(UnsupportedImage):
        Image.inspect(magic + rest)


@pytest.mark.parametrize("media_type", ENCODERS)
def test_a_picture_cut_in_its_header_is_refused(media_type: str) -> None:
    """A picture cut in its header is refused."""
    data = encoded(media_type)

    with pytest.raises(UnsupportedImage):
        Image.inspect(data[:20])


def test_a_png_cut_anywhere_is_refused() -> None:
    """A PNG cut at any byte is refused."""
    data = encoded("image/png")

    # The last four bytes are the checksum of an empty chunk.
    for length in range(0, len(data) - 4, 7):
        with pytest.raises(UnsupportedImage):
            Image.inspect(data[:length])


def test_a_wrong_png_checksum_is_refused() -> None:
    """A PNG with a flipped bit is refused."""
    data = bytearray(encoded("image/png"))
    data[data.index(b"IDAT") + 12] ^= 1

    with pytest.raises(UnsupportedImage):
        Image.inspect(bytes(data))


def test_the_pixel_limit_is_exact() -> None:
    """A picture may have exactly 50 million pixels."""
    assert MAX_PIXELS == 50_000_000
    allowed = Image.inspect(png(10_000, 5_000))

    assert (allowed.width, allowed.height) == (10_000, 5_000)
    with pytest.raises(UnsupportedImage, match="1 to 50000000 pixels"):
        Image.inspect(png(10_000, 5_001))


@pytest.mark.parametrize(
    ("width", "height"),
    [(30_000, 30_000), (2**31 - 1, 2**31 - 1), (2**31 - 1, 1), (0, 0), (0, 10)],
)
def test_a_lying_header_costs_no_memory(width: int, height: int) -> None:
    """A header that claims 900 million pixels is refused without decoding."""
    bomb = png(width, height)
    tracemalloc.start()
    try:
        with pytest.raises(UnsupportedImage):
            Image.inspect(bomb)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert peak < 4 * 1024 * 1024


@pytest.mark.parametrize("media_type", ENCODERS)
@pytest.mark.parametrize(
    "stranger",
    [b"<script>alert(1)</script>", b"PK\x03\x04" + bytes(26), b"%PDF-1.7\n"],
)
def test_a_polyglot_is_named_for_its_picture(media_type: str, stranger: bytes) -> None:
    """Bytes behind a picture do not change its type."""
    data = encoded(media_type) + stranger

    assert Image.inspect(data).media_type == media_type


@pytest.mark.parametrize("outer", ENCODERS)
@pytest.mark.parametrize("inner", ENCODERS)
def test_the_first_of_two_pictures_names_both(outer: str, inner: str) -> None:
    """Of two concatenated pictures the first decides the type."""
    assert Image.inspect(encoded(outer) + encoded(inner)).media_type == outer


@given(
    magic=st.sampled_from([b"", *(encoded(name)[:16] for name in ENCODERS)]),
    rest=st.binary(max_size=256),
)
def test_noise_is_refused_or_a_picture(magic: bytes, rest: bytes) -> None:
    """Any bytes are accepted or raise `UnsupportedImage`."""
    with suppress(UnsupportedImage):
        Image.inspect(magic + rest)


@given(
    media_type=st.sampled_from(sorted(ENCODERS)),
    edits=st.lists(
        st.tuples(st.integers(min_value=0), st.integers(0, 255)),
        min_size=1,
        max_size=8,
    ),
    length=st.integers(min_value=0),
)
def test_a_damaged_picture_is_refused_or_a_picture(
    media_type: str, edits: list[tuple[int, int]], length: int
) -> None:
    """A damaged picture is accepted or raises `UnsupportedImage`."""
    data = bytearray(encoded(media_type))
    for place, value in edits:
        data[place % len(data)] = value

    with suppress(UnsupportedImage):
        image = Image.inspect(bytes(data[: length % len(data) + 1]))
        assert image.width * image.height <= MAX_PIXELS


def crowded_png() -> bytes:
    """Return a PNG of 8 MB in empty chunks."""
    whole = encoded("image/png")
    place = whole.index(b"IDAT") - 4
    return whole[:place] + chunk(b"stUf", b"") * 700_000 + whole[place:]


def crowded_jpeg(part: bytes) -> bytes:
    """Return a JPEG of 8 MB in small segments."""
    whole = encoded("image/jpeg")
    return whole[:2] + part * (8_000_000 // len(part)) + whole[2:]


def crowded_gif() -> bytes:
    """Return a GIF with a comment of 16 MB, byte by byte."""
    whole = encoded("image/gif")
    # Behind the header and the palette, whose size stands in three bits.
    place = 13 + (6 << (whole[10] & 7))
    comment = b"\x21\xfe" + b"\x01x" * 8_000_000 + b"\0"
    return whole[:place] + comment + whole[place:]


@pytest.mark.parametrize(
    "make",
    [
        crowded_png,
        lambda: crowded_jpeg(b"\xff\xe0\0\2"),
        lambda: crowded_jpeg(b"\xff\xfe\0\2"),
        lambda: crowded_jpeg(b"\xff"),
        crowded_gif,
    ],
    ids=["png", "jpeg-segments", "jpeg-comments", "jpeg-fill", "gif"],
)
def test_a_picture_in_a_million_pieces_is_refused_at_once(
    make: Callable[[], bytes],
) -> None:
    """A picture of a million parts is refused in bounded time."""
    crowded = make()
    started = time.process_time()

    with pytest.raises(UnsupportedImage):
        Image.inspect(crowded)

    # Twice as many took 1.7 to 7 s; now a quarter of a second on a slow machine.
    assert time.process_time() - started < 1.5


@pytest.mark.parametrize(("width", "height"), [(9_000, 10_000), (20_000, 10_000)])
def test_a_size_beyond_the_limit_is_an_error_and_no_warning(
    width: int, height: int
) -> None:
    """A picture beyond Pillow's limit raises our error without Pillow's warning."""
    with pytest.raises(UnsupportedImage) as caught:
        Image.inspect(png(width, height))

    assert caught.value.__cause__ is None
