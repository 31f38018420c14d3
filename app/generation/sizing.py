"""Sizing: a picture in exactly the size that was asked for."""

from __future__ import annotations

import io
from typing import Any

import PIL.Image
from PIL.Image import Resampling, Transpose

from app.errors import BadImage
from app.image import Image

# GIF and AVIF become PNG: the one has too few colours for a resized picture,
# the other takes seconds to encode.
_ENCODERS: dict[str, tuple[str, dict[str, Any]]] = {
    "image/jpeg": ("JPEG", {"quality": 92}),
    "image/webp": ("WEBP", {"quality": 92}),
}
_PNG: tuple[str, dict[str, Any]] = ("PNG", {})

_DECODERS = ("PNG", "JPEG", "WEBP", "GIF", "AVIF")

# Exif 2.32, 4.6.4: what sets a picture upright that is stored so oriented.
# From 5 on it lies on its side.
_ORIENTATION = 0x0112
_UPRIGHT = {
    2: Transpose.FLIP_LEFT_RIGHT,
    3: Transpose.ROTATE_180,
    4: Transpose.FLIP_TOP_BOTTOM,
    5: Transpose.TRANSPOSE,
    6: Transpose.ROTATE_270,
    7: Transpose.TRANSVERSE,
    8: Transpose.ROTATE_90,
}
_FIRST_SIDEWAYS = 5


def fit(image: Image, width: int, height: int) -> Image:
    """Return *image* cropped around its middle to exactly that many pixels.

    It stands upright as its Exif orientation says, keeps its format (GIF and
    AVIF become PNG, an animation its first frame), its colour profile and its
    transparency; one that has the size already is returned untouched. Raises
    `BadImage` if it can't be decoded. Takes up to seconds: call it off the
    event loop.
    """
    try:
        with PIL.Image.open(io.BytesIO(image.data), formats=_DECODERS) as source:
            orientation = _orientation(source)
            if source.size == (width, height) and (
                width == height or orientation < _FIRST_SIDEWAYS
            ):
                return image
            picture = _plain(source)
    # As in app/image.py: Pillow's decoders raise whatever their parsing meets.
    except Exception as error:
        raise BadImage("The provider's picture can't be decoded.") from error
    if orientation in _UPRIGHT:
        picture = picture.transpose(_UPRIGHT[orientation])
    return Image.inspect(_encode(_cover(picture, width, height), image.media_type))


def _orientation(source: PIL.Image.Image) -> int:
    """Return the Exif orientation; 1, upright, where none can be read."""
    exif = PIL.Image.Exif()
    try:
        exif.load(source.info.get("exif", b""))
        return int(exif.get(_ORIENTATION, 1))
    except Exception:  # noqa: BLE001 - a broken note must not cost a paid picture
        return 1


def _plain(source: PIL.Image.Image) -> PIL.Image.Image:
    """Return *source* decoded, in a mode that can be resized and encoded."""
    source.load()
    if source.mode in {"I", "I;16"}:
        # Sixteen bits of grey; Pillow's own conversion clips instead.
        return source.convert("I").point(lambda grey: grey / 256).convert("L")
    if source.mode in {"RGBA", "LA"}:
        return source.copy()
    if source.has_transparency_data:
        return source.convert("RGBA")
    return source.convert("L" if source.mode in {"1", "L"} else "RGB")


def _cover(source: PIL.Image.Image, width: int, height: int) -> PIL.Image.Image:
    """Return the largest middle part of that ratio, resized."""
    scale = min(source.width / width, source.height / height)
    across, down = width * scale, height * scale
    left, upper = (source.width - across) / 2, (source.height - down) / 2
    box = (left, upper, left + across, upper + down)
    return source.resize((width, height), Resampling.LANCZOS, box)


def _encode(picture: PIL.Image.Image, media_type: str) -> bytes:
    encoder, parameters = _ENCODERS.get(media_type, _PNG)
    encoded = io.BytesIO()
    picture.save(encoded, encoder, icc_profile=_profile(picture), **parameters)
    return encoded.getvalue()


def _profile(picture: PIL.Image.Image) -> bytes | None:
    """Return the colour profile if it still speaks of *picture*'s colours.

    That of a CMYK picture means nothing in RGB; the colour space is named at
    byte 16 (ICC.1:2022, 7.2).
    """
    profile: bytes | None = picture.info.get("icc_profile")
    space = b"GRAY" if picture.mode in {"L", "LA"} else b"RGB "
    return profile if profile and profile[16:20] == space else None
