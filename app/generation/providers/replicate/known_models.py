"""The inputs of well-known models at Replicate; options name all others."""

from __future__ import annotations

from app.generation.providers.inputs import (
    FLUX_RATIOS,
    GEMINI_RATIOS,
    IMAGEN_RATIOS,
    Fields,
)

# The fields of the models' own pages; the longest beginning first.
KNOWN = {
    "black-forest-labs/flux-2": Fields("input_images[]", "aspect_ratio", FLUX_RATIOS),
    "black-forest-labs/flux-kontext": Fields(
        "input_image", "aspect_ratio", FLUX_RATIOS
    ),
    "black-forest-labs/flux-1.1-pro": Fields(
        "image_prompt", "aspect_ratio", FLUX_RATIOS
    ),
    "black-forest-labs/": Fields("image", "aspect_ratio", FLUX_RATIOS),
    "bytedance/seedream": Fields("image_input[]", "aspect_ratio", GEMINI_RATIOS),
    "google/imagen": Fields("image", "aspect_ratio", IMAGEN_RATIOS),
    "google/nano-banana": Fields("image_input[]", "aspect_ratio", GEMINI_RATIOS),
    "openai/gpt-image": Fields("input_images[]", "aspect_ratio", ("1:1", "3:2", "2:3")),
}
UNKNOWN = Fields("image", "as_asked")
