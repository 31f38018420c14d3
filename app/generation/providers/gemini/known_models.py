"""The capabilities of Gemini's models; options describe all others."""

from __future__ import annotations

from dataclasses import replace
from types import MappingProxyType

from app.generation.capabilities import INT32_SEEDS, Endpoint
from app.generation.shapes import COMMON_RATIOS

_READ = "2026-11-29"
_SOURCE = f"google-genai 3.6.1, types.py, and ai.google.dev, {_READ}"

_FOUR_MORE = (*COMMON_RATIOS, "1:4", "4:1", "1:8", "8:1")
# Square pictures of the sizes have these edges; others about as many pixels.
_1K, _2K, _4K = ("1K", 2**20), ("2K", 2**22), ("4K", 2**24)

_PRO = Endpoint(
    source=_SOURCE,
    references="many",
    max_references=14,
    shape="aspect_ratio",
    ratios=COMMON_RATIOS,
    resolutions=(_1K, _2K, _4K),
    max_seed=INT32_SEEDS,
)
_FLASH = replace(_PRO, ratios=_FOUR_MORE)

KNOWN = MappingProxyType(
    {
        "gemini-3-pro-image": _PRO,
        "gemini-3.1-flash-image": _FLASH,
        "gemini-nano-banana-2.1": _FLASH,
        # It has one size, and refuses to be asked for one.
        "gemini-3.1-flash-lite-image": replace(_FLASH, resolutions=()),
        "gemini-2.5-flash-image": replace(_PRO, resolutions=(), max_references=16),
    }
)
UNKNOWN = Endpoint(
    source="unknown model",
    shape="aspect_ratio",
    ratios=COMMON_RATIOS,
    max_seed=INT32_SEEDS,
)
