"""Capabilities of models behind the OpenAI dialect; options describe all others.

Azure names deployments as the operator chose: one that has its model's name is
found in the table, any other is described by options.
"""

from __future__ import annotations

from dataclasses import replace
from types import MappingProxyType

from app.generation.capabilities import INT32_SEEDS, Endpoint, SizeBounds

_READ = "2026-11-29"
_OPENAI = f"openai 3.57.0, types/image_edit_params.py, {_READ}"
_XAI = f"@ai-sdk/xai 3.0.138, and docs.x.ai, {_READ}"
_ARK = f"docs.comfy.org, ByteDance Seedream node, {_READ}"
_TOGETHER = f"@ai-sdk/togetherai 2.0.84, {_READ}"

_GPT_OPTIONS = {
    "quality": "quality",
    "background": "background",
    "moderation": "moderation",
}
# Any size within the bounds that OpenAI's image generation guide has.
_GPT_IMAGE_2 = Endpoint(
    source=_OPENAI,
    references="many",
    mask_field="mask",
    mask_is_alpha=True,
    shape="size",
    bounds=SizeBounds(
        min_width=16,
        min_height=16,
        max_width=3840,
        max_height=3840,
        step=16,
        min_pixels=655_360,
        max_pixels=8_294_400,
        max_ratio=3,
    ),
    options=_GPT_OPTIONS,
)
_GPT_IMAGE_1 = replace(
    _GPT_IMAGE_2, bounds=None, sizes=("1024x1024", "1536x1024", "1024x1536")
)
_GROK = Endpoint(
    source=_XAI,
    references="many",
    max_references=3,
    reference_form="objects",
    reference_types=frozenset({"image/png", "image/jpeg"}),
    shape="aspect_ratio",
    ratios=(
        *("1:1", "3:4", "4:3", "9:16", "16:9", "2:3", "3:2", "1:2", "2:1"),
        *("9:19.5", "19.5:9", "9:20", "20:9"),
    ),
    resolutions=(("1k", 2**20), ("2k", 2**22)),
    options={"quality": "quality"},
    response_format="b64_json",
)
_SEEDREAM = Endpoint(
    source=_ARK,
    references="many",
    max_references=10,
    reference_form="uris",
    reference_list=True,
    shape="size",
    bounds=SizeBounds(
        min_pixels=3_686_400, max_pixels=2**24, max_width=8192, max_height=8192
    ),
    max_seed=INT32_SEEDS,
    response_format="b64_json",
)
_SEEDREAM_4 = replace(
    _SEEDREAM,
    bounds=SizeBounds(
        min_pixels=921_600, max_pixels=2**24, max_width=8192, max_height=8192
    ),
)
_SEEDREAM_5_LITE = replace(_SEEDREAM, max_references=14)
_FLUX = Endpoint(
    source=_TOGETHER,
    shape="width_height",
    bounds=SizeBounds(step=16),
    max_seed=INT32_SEEDS,
    response_format="base64",
)
_FLUX_KONTEXT = replace(
    _FLUX, references="one", reference_field="image_url", reference_form="uris"
)

_GPT = {
    "gpt-image-2": _GPT_IMAGE_2,
    "gpt-image-2-2026-04-21": _GPT_IMAGE_2,
    "gpt-image-2.5-sunburst": _GPT_IMAGE_2,
    "gpt-image-2.5-sunburst-2026-09-08": _GPT_IMAGE_2,
    "gpt-image-2.5-flare": _GPT_IMAGE_2,
    "gpt-image-2.5-flare-2026-09-08": _GPT_IMAGE_2,
    "gpt-image-2.6-sunburst": _GPT_IMAGE_2,
    "gpt-image-2.6-flare": _GPT_IMAGE_2,
    "gpt-image-1": _GPT_IMAGE_1,
    "gpt-image-1.5": _GPT_IMAGE_1,
    "gpt-image-1-mini": _GPT_IMAGE_1,
    "chatgpt-image-latest": _GPT_IMAGE_1,
}
KNOWN = MappingProxyType(
    _GPT
    # Gateways put the vendor in front.
    | {f"openai/{model}": row for model, row in _GPT.items()}
    | {
        "grok-imagine-image": _GROK,
        "grok-imagine-image-pro": _GROK,
        "grok-imagine-image-quality": _GROK,
        "seedream-4-0-250828": _SEEDREAM_4,
        "seedream-4-5-251128": _SEEDREAM,
        "seedream-5-0-lite-260128": _SEEDREAM_5_LITE,
        "black-forest-labs/FLUX.1-schnell": _FLUX,
        "black-forest-labs/FLUX.1-dev": _FLUX,
        "black-forest-labs/FLUX.1-kontext-dev": _FLUX_KONTEXT,
        "black-forest-labs/FLUX.1-kontext-pro": _FLUX_KONTEXT,
        "black-forest-labs/FLUX.1-kontext-max": _FLUX_KONTEXT,
    }
)
UNKNOWN = Endpoint(source="unknown model", shape="size")
