"""Pictures as providers send them, by name, and helpers to compare them."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import PIL.Image
from PIL import ImageCms
from PIL.PngImagePlugin import PngInfo

from app.generation.provenance import Mark
from app.generation.provider import Origin
from app.image import Image

if TYPE_CHECKING:
    from collections.abc import Callable

SIGNED = Path(__file__).parents[2] / "data" / "c2pa"

MARK = Mark.of(Origin("openai", "gpt-image-2"))
TRAINED = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
COMPOSITE = (
    "http://cv.iptc.org/newscodes/digitalsourcetype/"
    "compositeWithTrainedAlgorithmicMedia"
)
# By a program that binds other prefixes and names the picture.
PACKET = (
    '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>'
    '<x:xmpmeta xmlns:x="adobe:ns:meta/"><r:RDF '
    'xmlns:r="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    '<r:Description r:about="uuid:1" xmlns:dc="http://purl.org/dc/elements/1.1/">'
    "<dc:creator><r:Seq><r:li>Ada &amp; Søn</r:li></r:Seq></dc:creator>"
    "</r:Description></r:RDF></x:xmpmeta>" + " " * 64 + '<?xpacket end="w"?>'
).encode()


def gradient(mode: str = "RGB", size: tuple[int, int] = (61, 37)) -> PIL.Image.Image:
    """Return a picture with a gradient in *mode*."""
    picture = PIL.Image.linear_gradient("L").resize(size)
    if mode in {"LA", "RGBA"}:
        picture = picture.convert("RGBA")
        picture.putalpha(PIL.Image.radial_gradient("L").resize(size))
    return picture.convert(mode)


def encoded(picture: PIL.Image.Image, image_format: str, **parameters: Any) -> bytes:
    """Return *picture* in that format."""
    data = io.BytesIO()
    picture.save(data, image_format, **parameters)
    return data.getvalue()


def chunk(kind: bytes, body: bytes) -> bytes:
    """Return a PNG chunk with the right checksum."""
    checksum = zlib.crc32(kind + body)
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", checksum)


def with_chunk(png: bytes, part: bytes, *, before: bytes) -> bytes:
    """Return *png* with *part* inserted before the chunk *name*."""
    place = png.index(before) - 4
    return png[:place] + part + png[place:]


def with_segment(jpeg: bytes, marker: int, body: bytes, *, at: int = 2) -> bytes:
    """Return *jpeg* with a segment inserted at that offset."""
    head = bytes((0xFF, marker)) + struct.pack(">H", len(body) + 2)
    return jpeg[:at] + head + body + jpeg[at:]


def png_with(packet: bytes, *, is_compressed: bool = False) -> bytes:
    """Return a PNG with that XMP packet."""
    info = PngInfo()
    text = packet.decode("utf-8", "replace")
    info.add_itxt("XML:com.adobe.xmp", text, zip=is_compressed)
    return encoded(gradient(), "PNG", pnginfo=info)


def jpeg_with(packet: bytes) -> bytes:
    """Return a JPEG with that XMP packet."""
    return encoded(gradient(), "JPEG", xmp=packet)


def webp_with(packet: bytes) -> bytes:
    """Return a WebP with that XMP packet."""
    return encoded(gradient(), "WEBP", xmp=packet)


def frames() -> dict[str, Any]:
    """Return the encoder options of an animation."""
    return {"save_all": True, "append_images": [gradient().rotate(180)], "duration": 50}


def exif() -> PIL.Image.Exif:
    """Return Exif data as a camera writes it."""
    notes = PIL.Image.Exif()
    notes[0x010F], notes[0x0112] = "Camera", 6
    return notes


def profile() -> bytes:
    """Return a colour profile."""
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def png_with_late_xmp() -> bytes:
    """Return a PNG whose XMP packet follows the pixels, which is allowed."""
    body = b"XML:com.adobe.xmp\0\0\0\0\0" + PACKET
    return with_chunk(encoded(gradient(), "PNG"), chunk(b"iTXt", body), before=b"IEND")


SAMPLES: dict[str, Callable[[], bytes]] = {
    "plain.png": lambda: encoded(gradient(), "PNG"),
    "palette.png": lambda: encoded(gradient().quantize(16), "PNG", transparency=3),
    "alpha.png": lambda: encoded(gradient("LA"), "PNG", icc_profile=profile()),
    "animated.png": lambda: encoded(gradient(), "PNG", **frames()),
    "exif.png": lambda: encoded(gradient(), "PNG", exif=exif()),
    "xmp.png": lambda: png_with(PACKET),
    "compressed-xmp.png": lambda: png_with(PACKET, is_compressed=True),
    "late-xmp.png": png_with_late_xmp,
    "baseline.jpg": lambda: encoded(gradient(), "JPEG"),
    "progressive.jpg": lambda: encoded(gradient(), "JPEG", progressive=True),
    "grey.jpg": lambda: encoded(gradient("L"), "JPEG"),
    "cmyk.jpg": lambda: encoded(gradient("CMYK"), "JPEG"),
    "exif.jpg": lambda: encoded(gradient(), "JPEG", exif=exif(), icc_profile=profile()),
    "xmp.jpg": lambda: jpeg_with(PACKET),
    "exif-xmp.jpg": lambda: encoded(gradient(), "JPEG", exif=exif(), xmp=PACKET),
    "lossy.webp": lambda: encoded(gradient(), "WEBP"),
    "lossless.webp": lambda: encoded(gradient(), "WEBP", lossless=True),
    "lossy-alpha.webp": lambda: encoded(gradient("RGBA"), "WEBP"),
    "lossless-alpha.webp": lambda: encoded(gradient("RGBA"), "WEBP", lossless=True),
    "animated.webp": lambda: encoded(gradient(), "WEBP", **frames()),
    "exif.webp": lambda: encoded(
        gradient(), "WEBP", exif=exif(), icc_profile=profile()
    ),
    "xmp.webp": lambda: webp_with(PACKET),
}


def sample(name: str) -> Image:
    """Return one of the samples."""
    return Image.inspect(SAMPLES[name]())


def shown(data: bytes) -> list[Any]:
    """Return each frame's mode, size, duration and pixels."""
    seen: list[Any] = []
    with PIL.Image.open(io.BytesIO(data)) as picture:
        for frame in range(getattr(picture, "n_frames", 1)):
            picture.seek(frame)
            picture.load()
            seen.append((picture.mode, picture.size, picture.tobytes()))
            seen.extend(
                picture.info.get(note)
                for note in ("exif", "icc_profile", "transparency", "duration")
            )
    return seen
