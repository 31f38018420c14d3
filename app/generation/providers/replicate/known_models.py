"""The capabilities of Replicate's models; options describe all others."""

from __future__ import annotations

from dataclasses import replace
from types import MappingProxyType

from app.generation.capabilities import ALL_SEEDS, INT32_SEEDS, Endpoint, SizeBounds
from app.generation.shapes import COMMON_RATIOS

_READ = "2026-11-29"
# Two projects that generate code from Replicate's schemas, and its own pages.
_NODETOOL = f"nodetool-ai/nodetool, replicate-manifest.json, {_READ}"
_AITS = f"ClickerMonkey/aits, transformers/replicate, {_READ}"
_PAGE = f"replicate.com, input schema of the model's version, {_READ}"

_FLUX_RATIOS = (
    *("1:1", "16:9", "21:9", "3:2", "2:3", "4:5", "5:4", "3:4", "4:3", "9:16", "9:21"),
)
_FLUX_PRO_RATIOS = (*("1:1", "16:9", "3:2", "2:3", "4:5", "5:4", "9:16", "3:4", "4:3"),)
_KONTEXT_RATIOS = (
    *("1:1", "16:9", "9:16", "4:3", "3:4", "3:2", "2:3", "4:5", "5:4"),
    *("21:9", "9:21", "2:1", "1:2"),
)
_SEEDREAM_RATIOS = ("1:1", "4:3", "3:4", "16:9", "9:16", "3:2", "2:3", "21:9")
_QWEN_RATIOS = ("1:1", "16:9", "9:16", "4:3", "3:4", "3:2", "2:3")
_IMAGEN_RATIOS = ("1:1", "9:16", "16:9", "3:4", "4:3")
_IDEOGRAM_RATIOS = (
    *("1:3", "3:1", "1:2", "2:1", "9:16", "16:9", "10:16", "16:10"),
    *("2:3", "3:2", "3:4", "4:3", "4:5", "5:4", "1:1"),
)
_RECRAFT_RATIOS = (
    *("1:1", "4:3", "3:4", "3:2", "2:3", "16:9", "9:16", "1:2", "2:1"),
    *("7:5", "5:7", "4:5", "5:4", "3:5", "5:3"),
)
_RECRAFT_4_RATIOS = (
    *("1:1", "4:3", "3:4", "3:2", "2:3", "16:9", "9:16", "1:2", "2:1"),
    *("4:5", "5:4", "6:10", "14:10", "10:14"),
)
_GROK_RATIOS = (
    *("1:1", "16:9", "9:16", "4:3", "3:4", "3:2", "2:3", "2:1", "1:2"),
    *("19.5:9", "9:19.5", "20:9", "9:20"),
)
_FOUR_MORE = (*COMMON_RATIOS, "1:4", "4:1", "1:8", "8:1")

_1K, _2K, _3K, _4K = ("1K", 2**20), ("2K", 2**22), ("3K", 3072**2), ("4K", 2**24)

_RATIOED = Endpoint(
    source=_AITS, shape="aspect_ratio", ratios=_FLUX_RATIOS, max_seed=ALL_SEEDS
)
_IMAGEN = replace(_RATIOED, ratios=_IMAGEN_RATIOS, max_seed=None)
_KONTEXT = replace(
    _RATIOED, ratios=_KONTEXT_RATIOS, references="one", reference_field="input_image"
)
_FLUX_2 = replace(
    _RATIOED,
    source=_PAGE,
    ratios=_FLUX_PRO_RATIOS,
    references="many",
    reference_field="input_images",
    reference_list=True,
    custom=("aspect_ratio", "custom"),
    bounds=SizeBounds(
        min_width=256, min_height=256, max_width=2048, max_height=2048, step=32
    ),
)
_KLEIN = replace(
    _RATIOED,
    source=_NODETOOL,
    references="many",
    max_references=5,
    reference_field="images",
    reference_list=True,
    resolution_field="output_megapixels",
    resolutions=(
        *(("0.25", 250_000), ("0.5", 500_000), ("1", 1_000_000)),
        *(("2", 2_000_000), ("4", 4_000_000)),
    ),
)
_PICTURES = replace(
    _RATIOED,
    max_seed=None,
    references="many",
    reference_field="image_input",
    reference_list=True,
)
_NANO_BANANA = replace(_PICTURES, ratios=COMMON_RATIOS)
_NANO_BANANA_2 = replace(
    _PICTURES, source=_NODETOOL, ratios=_FOUR_MORE, max_references=14
)
_SEEDREAM = replace(
    _PICTURES, source=_PAGE, ratios=_SEEDREAM_RATIOS, resolution_field="size"
)
_GPT_IMAGE = replace(
    _RATIOED,
    max_seed=None,
    ratios=("1:1", "3:2", "2:3"),
    references="many",
    reference_field="input_images",
    reference_list=True,
    options={
        "quality": "quality",
        "background": "background",
        "moderation": "moderation",
    },
)
_IDEOGRAM = replace(
    _RATIOED,
    ratios=_IDEOGRAM_RATIOS,
    max_seed=INT32_SEEDS,
    # `image` wants a mask beside it; these are style references.
    references="many",
    reference_field="style_reference_images",
    reference_list=True,
    options={"style": "style_type"},
)
_GEN4 = replace(
    _RATIOED,
    source=_NODETOOL,
    ratios=("16:9", "9:16", "4:3", "3:4", "1:1", "21:9"),
    references="many",
    max_references=3,
    reference_field="reference_images",
    reference_list=True,
    resolutions=(("720p", 1280 * 720), ("1080p", 1920 * 1080)),
    max_seed=INT32_SEEDS,
)
_QWEN_EDIT = Endpoint(
    source=_AITS, references="one", needs_reference=True, max_seed=ALL_SEEDS
)

KNOWN = MappingProxyType(
    {
        "black-forest-labs/flux-schnell": _RATIOED,
        "black-forest-labs/flux-dev": replace(_RATIOED, references="one"),
        "black-forest-labs/flux-1.1-pro": replace(
            _RATIOED,
            ratios=_FLUX_PRO_RATIOS,
            references="one",
            reference_field="image_prompt",
        ),
        "black-forest-labs/flux-1.1-pro-ultra": replace(
            _RATIOED, references="one", reference_field="image_prompt"
        ),
        "black-forest-labs/flux-kontext-pro": _KONTEXT,
        "black-forest-labs/flux-kontext-max": _KONTEXT,
        "black-forest-labs/flux-kontext-dev": replace(
            _KONTEXT, ratios=_FLUX_RATIOS, needs_reference=True
        ),
        "black-forest-labs/flux-2-pro": replace(_FLUX_2, max_references=8),
        "black-forest-labs/flux-2-flex": replace(_FLUX_2, max_references=10),
        # No page tells how many pictures it takes; its siblings take more.
        "black-forest-labs/flux-2-dev": replace(
            _FLUX_2, source=_AITS, max_references=4
        ),
        "black-forest-labs/flux-2-klein-4b": _KLEIN,
        "black-forest-labs/flux-2-klein-9b": _KLEIN,
        "black-forest-labs/flux-2-klein-4b-base": _KLEIN,
        "google/nano-banana": _NANO_BANANA,
        "google/nano-banana-2": replace(_NANO_BANANA_2, resolutions=(_1K, _2K, _4K)),
        "google/nano-banana-2-lite": _NANO_BANANA_2,
        "google/nano-banana-pro": replace(
            _NANO_BANANA, max_references=14, resolutions=(_1K, _2K, _4K)
        ),
        "google/imagen-3": _IMAGEN,
        "google/imagen-4": _IMAGEN,
        "google/imagen-4-fast": _IMAGEN,
        "google/imagen-4-ultra": _IMAGEN,
        "bytedance/seedream-4": replace(
            _SEEDREAM,
            max_references=10,
            custom=("size", "custom"),
            bounds=SizeBounds(min_width=1024, min_height=1024),
        ),
        "bytedance/seedream-4.5": replace(
            _SEEDREAM, max_references=14, resolutions=(_2K, _4K)
        ),
        "bytedance/seedream-5-lite": replace(
            _SEEDREAM, max_references=14, resolutions=(_2K, _3K)
        ),
        "bytedance/seedream-5-pro": replace(
            _SEEDREAM, source=_NODETOOL, max_references=10, resolutions=(_1K, _2K)
        ),
        "openai/gpt-image-1": _GPT_IMAGE,
        "openai/gpt-image-1.5": _GPT_IMAGE,
        "openai/gpt-image-2": replace(
            _GPT_IMAGE,
            source=_NODETOOL,
            shape="size",
            ratios=(),
            size_field="aspect_ratio",
            sizes=(
                *("1024x1024", "1536x1024", "1024x1536", "1536x1152", "1152x1536"),
                *("2048x2048", "2048x1152", "1152x2048", "3840x2160", "2160x3840"),
            ),
        ),
        "ideogram-ai/ideogram-v3-turbo": _IDEOGRAM,
        "ideogram-ai/ideogram-v3-balanced": _IDEOGRAM,
        "ideogram-ai/ideogram-v3-quality": _IDEOGRAM,
        "qwen/qwen-image": replace(
            _RATIOED,
            source=_NODETOOL,
            ratios=_QWEN_RATIOS,
            references="one",
            options={"negative_prompt": "negative_prompt"},
        ),
        "qwen/qwen-image-edit": _QWEN_EDIT,
        "qwen/qwen-image-edit-plus": replace(
            _QWEN_EDIT,
            source=_NODETOOL,
            references="many",
            reference_list=True,
            shape="aspect_ratio",
            ratios=("1:1", "16:9", "9:16", "4:3", "3:4"),
        ),
        "recraft-ai/recraft-v3": replace(
            _RATIOED, ratios=_RECRAFT_RATIOS, max_seed=None, options={"style": "style"}
        ),
        "recraft-ai/recraft-v4.1-pro": replace(
            _RATIOED, source=_NODETOOL, ratios=_RECRAFT_4_RATIOS, max_seed=None
        ),
        "runwayml/gen4-image": _GEN4,
        "runwayml/gen4-image-turbo": replace(_GEN4, needs_reference=True),
        "prunaai/p-image-edit": replace(
            _RATIOED,
            source=_NODETOOL,
            ratios=_QWEN_RATIOS,
            references="many",
            reference_field="images",
            reference_list=True,
        ),
        "xai/grok-imagine-image-quality": replace(
            _RATIOED,
            source=_NODETOOL,
            ratios=_GROK_RATIOS,
            references="one",
            resolutions=(("1k", 2**20), ("2k", 2**22)),
            max_seed=None,
        ),
    }
)
UNKNOWN = Endpoint(
    source="unknown model",
    shape="as_asked",
    bounds=SizeBounds(step=8),
    max_seed=INT32_SEEDS,
)
