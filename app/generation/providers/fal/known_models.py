"""The inputs of well-known models at fal; options name all others."""

from __future__ import annotations

from app.generation.providers.inputs import (
    FLUX_RATIOS,
    GEMINI_RATIOS,
    IMAGEN_RATIOS,
    Fields,
)

# The fields of the models' own pages; the longest beginning first.
KNOWN = {
    "fal-ai/flux-pro/kontext/max/multi": Fields(
        "image_urls[]", "aspect_ratio", FLUX_RATIOS
    ),
    "fal-ai/flux-pro/kontext/multi": Fields(
        "image_urls[]", "aspect_ratio", FLUX_RATIOS
    ),
    "fal-ai/flux-pro/kontext": Fields("image_url", "aspect_ratio", FLUX_RATIOS),
    "fal-ai/flux-pro/v1.1-ultra": Fields("image_url", "aspect_ratio", FLUX_RATIOS),
    "fal-ai/flux/dev/image-to-image": Fields("image_url", "omit"),
    "fal-ai/gemini": Fields("image_urls[]", "aspect_ratio", GEMINI_RATIOS),
    "fal-ai/imagen4": Fields("image_urls[]", "aspect_ratio", IMAGEN_RATIOS),
    "fal-ai/nano-banana": Fields("image_urls[]", "aspect_ratio", GEMINI_RATIOS),
}
UNKNOWN = Fields("image_urls[]", "image_size")
