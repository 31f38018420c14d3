"""Drawing: from the bytes of a picture to the bytes of a rendition.

Pure, and slow: it runs off the event loop, one call at a time. What it holds is
bounded by `MAX_PIXELS`: docs/explanation/performance.md has the figures.
"""

from __future__ import annotations

import io
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple

import PIL.Image
from PIL import ImageOps
from PIL.Image import Resampling
from PIL.PngImagePlugin import PngInfo

from app.errors import ProviderFailed
from app.generation.provenance import packet_of_copy
from app.image import opened
from app.renditions import colours
from app.renditions.rendition import AVIF, JPEG, PNG, WEBP, height_at

if TYPE_CHECKING:
    from app.generation.provenance import Mark
    from app.renditions.rendition import RenditionPlan

# By measurement, on pictures as models paint them: the slowest settings that
# make a picture of a megapixel well within the time that we promise.
_ENCODERS: dict[str, tuple[str, dict[str, Any]]] = {
    PNG: ("PNG", {"compress_level": 6}),
    JPEG: ("JPEG", {"quality": 80, "progressive": True}),
    WEBP: ("WEBP", {"quality": 80, "method": 4}),
    # One thread: the other cores are for answers.
    AVIF: ("AVIF", {"quality": 60, "speed": 7, "max_threads": 1}),
}

_XMP_KEYWORD = "XML:com.adobe.xmp"
# What a JPEG segment holds of a packet, behind its length and its name.
_LONGEST_JPEG_PACKET = 65_504

# A JPEG's scan goes over all pixels and takes a hundred bytes if it changes
# nothing: megabytes of them would be decoded for hours. Encoders make ten.
_SCAN = b"\xff\xda"
_MAX_SCANS = 64
# A picture is decoded at this many times the width that it is reduced to.
_DECODED_TIMES = 2


class Undecodable(ProviderFailed):
    """The stored picture is no picture that can be drawn anew."""


class Drawn(NamedTuple):
    """A rendition's bytes; *c2pa* says that the original carries a manifest."""

    data: bytes
    c2pa: bool


def draw(
    original: bytes, media_type: str, plan: RenditionPlan, mark: Mark | None
) -> Drawn:
    """Return the rendition of *original* by *plan*, upright and marked.

    An animation gives its first frame. Raises `Undecodable`.
    """
    picture = _decoded(original, media_type, plan.width)
    width = min(plan.width, picture.width)
    if width < picture.width:
        height = height_at(width, *picture.size)
        picture = picture.resize((width, height), Resampling.LANCZOS)
    packet, c2pa = packet_of_copy(original, media_type, mark)
    return Drawn(_encoded(picture, plan, packet), c2pa)


def _decoded(original: bytes, media_type: str, width: int) -> PIL.Image.Image:
    """Return the picture upright, in a mode that every format can be made of."""
    if media_type == JPEG and original.count(_SCAN) > _MAX_SCANS:
        raise Undecodable("The stored picture takes too long to decode.")
    try:
        with opened(original) as source:
            sides = _DECODED_TIMES * max(width, round(_ratio(source) * width))
            # A JPEG whose sides are many times that long is decoded smaller.
            source.draft(None, (sides, sides))
            source.load()
            with suppress(Exception):  # a broken note costs no picture
                ImageOps.exif_transpose(source, in_place=True)
            picture = colours.drawable(source)
            # Nothing else goes along: notes may hold anything.
            profile = picture.info.get("icc_profile")
            picture.info = {"icc_profile": profile} if profile else {}
            return picture
    except Exception as error:
        raise Undecodable("The stored picture can't be decoded.") from error


def _ratio(source: PIL.Image.Image) -> float:
    longer, shorter = max(source.size), min(source.size)
    return longer / shorter


def _encoded(
    picture: PIL.Image.Image, plan: RenditionPlan, packet: bytes | None
) -> bytes:
    encoder, parameters = _ENCODERS[plan.media_type]
    options: dict[str, Any] = dict(parameters)
    if plan.q is not None:
        options["quality"] = plan.q
    if packet and encoder == "PNG":
        options["pnginfo"] = PngInfo()
        options["pnginfo"].add_itxt(_XMP_KEYWORD, packet.decode(errors="replace"))
    elif packet and (encoder != "JPEG" or len(packet) <= _LONGEST_JPEG_PACKET):
        options["xmp"] = packet
    picture, profile = colours.encodable(picture, plan.media_type)
    encoded = io.BytesIO()
    picture.save(encoded, encoder, icc_profile=profile, **options)
    return encoded.getvalue()
