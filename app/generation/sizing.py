"""Sizing: a picture in exactly the size that was asked for."""

from __future__ import annotations

import io
from contextlib import suppress
from typing import Any

import PIL.Image
from PIL import ImageOps
from PIL.Image import Resampling
from PIL.PngImagePlugin import PngInfo

from app.errors import BadImage
from app.image import Image, is_sideways, opened

# GIF and AVIF become PNG: the one has too few colours for a resized picture,
# the other takes seconds to encode.
_ENCODERS: dict[str, tuple[str, dict[str, Any]]] = {
    "image/jpeg": ("JPEG", {"quality": 92}),
    "image/webp": ("WEBP", {"quality": 92}),
}
_PNG: tuple[str, dict[str, Any]] = ("PNG", {})
# What is sent once, and not stored, is encoded fast rather than small.
_QUICKLY = {"compress_level": 1}
_XMP_KEYWORD = "XML:com.adobe.xmp"
# What a JPEG segment holds of a packet, behind its length and its name.
_LONGEST_JPEG_PACKET = 65_504

# ITU-T T.81, B.2.3. A JPEG's scan goes over all pixels, and takes a hundred
# bytes if it changes nothing: 16 MB of them would be decoded for hours, while
# encoders make ten. No compressed data has the marker in it.
_SCAN = b"\xff\xda"
_MAX_SCANS = 64


def fit(image: Image, width: int, height: int) -> Image:
    """Return *image* cropped around its middle to exactly that many pixels.

    It stands upright as its Exif orientation says, keeps its format (GIF and
    AVIF become PNG, an animation its first frame), its colour profile, its XMP
    and its transparency; one that has the size already is returned untouched.
    Raises `BadImage` if it can't be decoded. Takes up to seconds, and up to
    16 bytes a pixel: call it off the event loop, and few at once.
    """
    if image.media_type == "image/jpeg" and image.data.count(_SCAN) > _MAX_SCANS:
        raise BadImage("The provider's picture takes too long to decode.")
    try:
        with opened(image.data) as source:
            if source.size == (width, height) and (
                width == height or not is_sideways(source)
            ):
                return image
            picture = _decoded(source, 2 * max(width, height))
    except Exception as error:
        raise BadImage("The provider's picture can't be decoded.") from error
    fitted = ImageOps.fit(picture, (width, height), Resampling.LANCZOS)
    return Image.inspect(_encoded(fitted, image.media_type))


def as_png(image: Image) -> Image:
    """Return the first frame of *image* as PNG, upright, none of its pixels changed.

    Its colour profile and its transparency stay. Raises `BadImage` if it can't
    be decoded. Call it off the event loop, and few at once.
    """
    try:
        with opened(image.data) as source:
            picture = _decoded(source, max(source.size))
    except Exception as error:
        raise BadImage("The picture can't be decoded.") from error
    return Image.inspect(_encoded(picture, "image/png", **_QUICKLY))


def white_mask(data: bytes) -> bytes:
    """Return a mask that is white where *data* is transparent, and black elsewhere.

    Raises `BadImage` if it can't be decoded. Call it off the event loop.
    """
    try:
        with opened(data) as source:
            alpha = source.convert("RGBA").getchannel("A")
    except Exception as error:
        raise BadImage("The mask can't be decoded.") from error
    encoded = io.BytesIO()
    ImageOps.invert(alpha).save(encoded, "PNG", **_QUICKLY)
    return encoded.getvalue()


def _decoded(source: PIL.Image.Image, enough: int) -> PIL.Image.Image:
    """Return *source* upright, in a mode that can be resized and encoded.

    A JPEG whose sides are many times *enough* is decoded in a part of its size.
    """
    source.draft(None, (enough, enough))
    source.load()
    with suppress(Exception):  # as above
        ImageOps.exif_transpose(source, in_place=True)
    if source.mode in {"I", "I;16"}:
        # Sixteen bits of grey; Pillow's own conversion clips instead.
        return source.convert("I").point(lambda grey: grey / 256).convert("L")
    if source.mode in {"RGB", "RGBA", "L", "LA"} and "transparency" not in source.info:
        return source
    if source.has_transparency_data:
        return source.convert("RGBA")
    return source.convert("L" if source.mode == "1" else "RGB")


def _encoded(picture: PIL.Image.Image, media_type: str, **more: Any) -> bytes:
    encoder, parameters = _ENCODERS.get(media_type, _PNG)
    notes: dict[str, Any] = {}
    packet: bytes = picture.info.get("xmp", b"")
    if packet and encoder == "PNG":
        notes["pnginfo"] = PngInfo()
        notes["pnginfo"].add_itxt(_XMP_KEYWORD, packet.decode(errors="replace"))
    elif packet and (encoder != "JPEG" or len(packet) <= _LONGEST_JPEG_PACKET):
        notes["xmp"] = packet
    encoded = io.BytesIO()
    picture.save(
        encoded, encoder, icc_profile=_profile(picture), **notes, **parameters, **more
    )
    return encoded.getvalue()


def _profile(picture: PIL.Image.Image) -> bytes | None:
    """Return the colour profile if it still speaks of *picture*'s colours.

    That of a CMYK picture means nothing in RGB; the colour space is named at
    byte 16 (ICC.1:2022, 7.2).
    """
    profile: bytes | None = picture.info.get("icc_profile")
    space = b"GRAY" if picture.mode in {"L", "LA"} else b"RGB "
    return profile if profile and profile[16:20] == space else None
