"""Prompts are removed from served pictures, whose pixels stay."""

from __future__ import annotations

import io
import json
import struct
import zlib
from typing import TYPE_CHECKING

import PIL.Image
import pytest
from PIL.PngImagePlugin import PngInfo

from app.generation.provenance import attest, without_prompts
from app.image import Image
from tests.generation.provenance.samples import (
    MARK,
    SAMPLES,
    SIGNED,
    chunk,
    encoded,
    gradient,
    with_chunk,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

PROMPT = "a lighthouse of a secret client"
UTF_16 = PROMPT.encode("utf-16-be")


def pixels(data: bytes) -> bytes:
    """Return the decoded pixels."""
    with PIL.Image.open(io.BytesIO(data)) as picture:
        return picture.convert("RGBA").tobytes()


def png_text(kind: bytes, keyword: bytes) -> bytes:
    """Return a PNG with the prompt in a chunk of that kind."""
    text = PROMPT.encode()
    body = {
        b"tEXt": keyword + b"\0" + text,
        b"zTXt": keyword + b"\0\0" + zlib.compress(text),
        b"iTXt": keyword + b"\0\0\0\0\0" + text,
    }[kind]
    return with_chunk(encoded(gradient(), "PNG"), chunk(kind, body), before=b"IDAT")


def exif(*, orientation: int = 6) -> bytes:
    """Return Exif data with the prompt in every field that painters use."""
    data = PIL.Image.Exif()
    data[0x0112] = orientation
    data[0x010E] = PROMPT
    data[0x010F] = "workflow:" + json.dumps({"6": {"text": PROMPT}})
    data[0x0131] = "Forge"
    data.get_ifd(0x8769)[0x9286] = b"UNICODE\0" + UTF_16
    return data.tobytes()


def xmp(*, as_attribute: bool) -> bytes:
    """Return an XMP packet that describes the picture, and names its creator."""
    words = f'dc:creator="Ada" exif:UserComment="{PROMPT}"' if as_attribute else ""
    element = (
        ""
        if as_attribute
        else f"<dc:description><rdf:Alt><rdf:li>{PROMPT}</rdf:li></rdf:Alt>"
        "</dc:description><dc:creator>Ada</dc:creator>"
    )
    return (
        '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF '
        'xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        '<rdf:Description rdf:about="" '
        'xmlns:dc="http://purl.org/dc/elements/1.1/" '
        f'xmlns:exif="http://ns.adobe.com/exif/1.0/" {words}>'
        f"{element}</rdf:Description></rdf:RDF></x:xmpmeta>"
    ).encode()


def xmp_png() -> bytes:
    """Return a PNG whose XMP is compressed."""
    info = PngInfo()
    packet = xmp(as_attribute=False).decode()
    info.add_itxt("XML:com.adobe.xmp", packet, zip=True)
    return encoded(gradient(), "PNG", pnginfo=info)


PAINTED: dict[str, Callable[[], bytes]] = {
    "parameters.png": lambda: png_text(b"tEXt", b"parameters"),
    "workflow.png": lambda: png_text(b"zTXt", b"workflow"),
    "comment.png": lambda: png_text(b"iTXt", b"Comment"),
    "exif.png": lambda: encoded(gradient(), "PNG", exif=exif()),
    "xmp.png": xmp_png,
    "exif.jpg": lambda: encoded(gradient(), "JPEG", exif=exif()),
    "comment.jpg": lambda: encoded(gradient(), "JPEG", comment=PROMPT.encode()),
    "element.jpg": lambda: encoded(gradient(), "JPEG", xmp=xmp(as_attribute=False)),
    "attribute.jpg": lambda: encoded(gradient(), "JPEG", xmp=xmp(as_attribute=True)),
    "exif.webp": lambda: encoded(gradient(), "WEBP", exif=exif()),
    "xmp.webp": lambda: encoded(gradient(), "WEBP", xmp=xmp(as_attribute=False)),
}


def holds_prompt(data: bytes) -> bool:
    """Return whether the prompt is in *data*, compressed texts included."""
    seen = [data]
    at = 8
    while data.startswith(b"\x89PNG") and at < len(data):
        length, name = struct.unpack_from(">I4s", data, at)
        if name in {b"zTXt", b"iTXt"}:
            body = data[at + 8 : at + 8 + length]
            seen += [zlib.decompress(body[start:]) for start in _streams(body)]
        at += 12 + length
    words = (PROMPT.encode(), UTF_16)
    return any(word in text for text in seen for word in words)


def _streams(body: bytes) -> list[int]:
    starts = []
    for at in range(len(body)):
        if body[at : at + 1] == b"\x78":
            try:
                zlib.decompress(body[at:])
            except zlib.error:
                continue
            starts.append(at)
    return starts


@pytest.mark.parametrize("name", PAINTED)
def test_a_prompt_is_taken_out_and_no_pixel_is_touched(name: str) -> None:
    """A prompt is removed wherever a painter wrote it, and no pixel changes."""
    came = Image.inspect(PAINTED[name]())
    assert holds_prompt(came.data)

    left = without_prompts(came)
    marked, provenance = attest(left, MARK, painted=left)

    assert not holds_prompt(left.data)
    assert pixels(left.data) == pixels(came.data)
    assert Image.inspect(left.data) == left
    assert provenance.marked
    assert not holds_prompt(marked.data)
    assert without_prompts(marked) is marked


@pytest.mark.parametrize("name", ["exif.png", "exif.jpg", "exif.webp"])
def test_orientation_and_software_stay(name: str) -> None:
    """Orientation and software stay in the Exif data."""
    left = without_prompts(Image.inspect(PAINTED[name]()))

    with PIL.Image.open(io.BytesIO(left.data)) as picture:
        kept = picture.getexif()
    assert kept[0x0112] == 6
    assert kept[0x0131] == "Forge"


def test_what_xmp_says_beside_a_prompt_stays() -> None:
    """The XMP's creator stays when a prompt is removed."""
    left = without_prompts(Image.inspect(PAINTED["attribute.jpg"]()))

    assert b'dc:creator="Ada"' in left.data


@pytest.mark.parametrize(
    "path", sorted(SIGNED.glob("*.[pjwg]*")), ids=lambda path: path.name
)
def test_content_credentials_are_never_broken(path: Path) -> None:
    """A picture with Content Credentials keeps its bytes, prompt included."""
    image = Image.inspect(path.read_bytes())

    assert without_prompts(image) is image


@pytest.mark.parametrize("name", SAMPLES)
def test_every_container_keeps_its_pixels_bit_by_bit(name: str) -> None:
    """Removing metadata from any container keeps the pixels."""
    came = Image.inspect(SAMPLES[name]())

    left = without_prompts(came)

    assert pixels(left.data) == pixels(came.data)


@pytest.mark.parametrize("cut", [4, 9, 20, 60, -1])
def test_exif_that_cannot_be_read_is_dropped_whole(cut: int) -> None:
    """Unreadable Exif data are removed whole."""
    data = encoded(gradient(), "JPEG", exif=exif()[:cut])

    left = without_prompts(Image.inspect(data))

    assert not holds_prompt(left.data)
    assert pixels(left.data) == pixels(encoded(gradient(), "JPEG"))
