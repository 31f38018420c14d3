"""Colours: modes that can be resized, and profiles that are kept or applied.

A profile that speaks of the colours that a format keeps goes along. One that
does not (CMYK's always; grey's in a format that has no grey) is applied: the
picture is converted to sRGB, which is what a picture without a profile means.
"""

from __future__ import annotations

import io
from contextlib import suppress
from functools import lru_cache

import PIL.Image
from PIL import ImageCms

from app.renditions.rendition import JPEG, PNG

_WITH_ALPHA = frozenset({"RGBA", "LA"})
_GREY = frozenset({"L", "LA"})
_HAVE_GREY = frozenset({PNG, JPEG})
# Where a profile names its colour space (ICC.1:2022, 7.2).
_SPACE = slice(16, 20)


def drawable(source: PIL.Image.Image) -> PIL.Image.Image:
    """Return *source* in L, LA, RGB or RGBA, which can be resized."""
    if source.mode in {"I", "I;16", "I;16B", "I;16L"}:
        # Sixteen bits of grey; Pillow's own conversion clips instead.
        made = source.convert("I").point(lambda grey: grey / 257).convert("L")
        return _with_profile(made, source)
    if source.mode in {"RGB", "RGBA", "L", "LA"} and "transparency" not in source.info:
        return source
    if source.has_transparency_data:
        return _with_profile(source.convert("RGBA"), source)
    if source.mode == "1":
        return _with_profile(source.convert("L"), source)
    if source.mode == "CMYK":
        return _in_srgb(source, "RGB") or _with_profile(source.convert("RGB"), None)
    return _with_profile(source.convert("RGB"), source)


def encodable(
    picture: PIL.Image.Image, media_type: str
) -> tuple[PIL.Image.Image, bytes | None]:
    """Return *picture* as *media_type* can keep it, and the profile to go along."""
    profile: bytes | None = picture.info.get("icc_profile")
    if picture.mode in _GREY and media_type not in _HAVE_GREY:
        mode = "RGBA" if picture.mode in _WITH_ALPHA else "RGB"
        if profile and profile[_SPACE] == b"GRAY":
            grey = picture.convert("L")
            coloured = _in_srgb(grey, "RGB") or grey.convert("RGB")
            if mode == "RGBA":
                coloured.putalpha(picture.getchannel("A"))
            return coloured, None
        picture = picture.convert(mode)
    if media_type == JPEG and picture.mode in _WITH_ALPHA:
        picture = _on_white(picture)
    space = b"GRAY" if picture.mode in _GREY else b"RGB "
    return picture, profile if profile and profile[_SPACE] == space else None


def _on_white(picture: PIL.Image.Image) -> PIL.Image.Image:
    mode = "L" if picture.mode == "LA" else "RGB"
    white = PIL.Image.new(mode, picture.size, "white")
    white.paste(picture.convert(mode), mask=picture.getchannel("A"))
    return white


def _with_profile(
    made: PIL.Image.Image, source: PIL.Image.Image | None
) -> PIL.Image.Image:
    """Return *made* with the profile of *source*, which a conversion may lose."""
    profile = source.info.get("icc_profile") if source else None
    made.info.pop("icc_profile", None)
    if profile:
        made.info["icc_profile"] = profile
    return made


def _in_srgb(picture: PIL.Image.Image, mode: str) -> PIL.Image.Image | None:
    """Return *picture* in sRGB by its profile; None without one that can be applied."""
    profile = picture.info.get("icc_profile")
    if not profile:
        return None
    with suppress(ImageCms.PyCMSError, OSError, ValueError):
        own = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        made = ImageCms.profileToProfile(picture, own, _srgb(), outputMode=mode)
        if made is not None:
            made.info.pop("icc_profile", None)
            return made
    return None


@lru_cache(1)
def _srgb() -> ImageCms.ImageCmsProfile:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
