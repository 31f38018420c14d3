"""Shapes of Gemini's pictures: a ratio out of a list, and a size out of three. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from app.generation.providers.parameters import ratio_for

if TYPE_CHECKING:
    from app.generation.provider import PaintRequest

# https://ai.google.dev/gemini-api/docs/image-generation#aspect_ratios
_RATIOS = ("1:1", "2:3", "3:2", "3:4", "4:3", "4:5", "5:4", "9:16", "16:9", "21:9")
_LONG_RATIOS = ("1:4", "4:1", "1:8", "8:1")

# Square pictures of the sizes have these edges; others about as many pixels.
_EDGES = {"1K": 1024, "2K": 2048, "4K": 4096}


def image_config(model: str, size: str, request: PaintRequest) -> dict[str, str]:
    """Return the `imageConfig` to ask *model* for; what it can't choose is left out.

    *size* is the option `image_size`.
    """
    config = {}
    is_first = model.startswith("gemini-2.5-flash-image")
    ratio = ratio_for(request, _RATIOS if is_first else _RATIOS + _LONG_RATIOS)
    if ratio:
        config["aspectRatio"] = ratio
    if size == "auto":
        # 2.5 Flash refuses the key, Flash Lite has one size.
        size = "omit" if is_first or "flash-lite" in model else _covering(request)
    if size != "omit":
        config["imageSize"] = size
    return config


def _covering(request: PaintRequest) -> str:
    """Return the smallest size with as many pixels; the default where none counts."""
    if request.width is None or request.height is None:
        return "omit"
    pixels = request.width * request.height
    # A tenth too few is not seen; the next size costs half as much again.
    fitting = (name for name, edge in _EDGES.items() if pixels <= edge * edge * 1.1)
    size = next(fitting, "4K")
    return "omit" if size == "1K" else size
