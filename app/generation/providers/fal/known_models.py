"""The capabilities of fal's models; options describe all others."""

from __future__ import annotations

from dataclasses import replace
from types import MappingProxyType

from app.generation.capabilities import ALL_SEEDS, INT32_SEEDS, Endpoint, SizeBounds
from app.generation.shapes import COMMON_RATIOS

_READ = "2026-11-29"
_SOURCE = f"@fal-ai/client 1.10.1, types/endpoints.d.ts, {_READ}"

_FOUR_MORE = (*COMMON_RATIOS, "1:4", "4:1", "1:8", "8:1")
_KONTEXT_RATIOS = (
    *("21:9", "16:9", "4:3", "3:2", "1:1", "2:3", "3:4", "9:16", "9:21"),
)
_IMAGEN_RATIOS = ("1:1", "16:9", "9:16", "4:3", "3:4")
_HALF_K, _1K, _2K, _4K = ("0.5K", 2**18), ("1K", 2**20), ("2K", 2**22), ("4K", 2**24)

_ANY_SIZE = SizeBounds(step=8)

# Sized: `image_size` is a table of width and height.
_SIZED = Endpoint(
    source=_SOURCE, shape="image_size", bounds=_ANY_SIZE, max_seed=ALL_SEEDS
)
# Edited: a list of pictures, without which the endpoint does nothing.
_EDITED = replace(
    _SIZED,
    references="many",
    needs_reference=True,
    reference_field="image_urls",
    reference_list=True,
)
_RATIOED = Endpoint(
    source=_SOURCE, shape="aspect_ratio", ratios=COMMON_RATIOS, max_seed=ALL_SEEDS
)
_FLUX_2_BOUNDS = SizeBounds(
    min_width=512, min_height=512, max_width=2048, max_height=2048
)
_KONTEXT = replace(
    _RATIOED,
    ratios=_KONTEXT_RATIOS,
    references="one",
    needs_reference=True,
    reference_field="image_url",
)
_KONTEXT_MULTI = replace(
    _KONTEXT, references="many", reference_field="image_urls", reference_list=True
)
_KONTEXT_TEXT = replace(_RATIOED, ratios=_KONTEXT_RATIOS)
_GPT_IMAGE = Endpoint(
    source=_SOURCE,
    shape="size",
    size_field="image_size",
    sizes=("1024x1024", "1536x1024", "1024x1536"),
    options={"quality": "quality", "background": "background"},
)
_GPT_IMAGE_EDIT = replace(
    _GPT_IMAGE,
    references="many",
    needs_reference=True,
    reference_field="image_urls",
    reference_list=True,
)
_NEGATIVE = {"negative_prompt": "negative_prompt"}
_QWEN_2 = replace(
    _SIZED,
    bounds=SizeBounds(min_pixels=512 * 512, max_pixels=2048 * 2048),
    max_seed=INT32_SEEDS,
    options=_NEGATIVE,
)
_QWEN_2_EDIT = replace(
    _QWEN_2,
    references="many",
    max_references=3,
    needs_reference=True,
    reference_field="image_urls",
    reference_list=True,
)
_QWEN_EDIT_PLUS = replace(_EDITED, options=_NEGATIVE)


def _seedream(
    least: int, most: int, max_seed: int | None = INT32_SEEDS
) -> tuple[Endpoint, Endpoint]:
    """Return text and edit endpoint of a Seedream that paints so many pixels."""
    bounds = SizeBounds(min_pixels=least, max_pixels=most)
    text = replace(_SIZED, bounds=bounds, max_seed=max_seed)
    edit = replace(_EDITED, bounds=bounds, max_seed=max_seed, max_references=10)
    return text, edit


def _nano_banana(
    ratios: tuple[str, ...], *resolutions: tuple[str, int]
) -> tuple[Endpoint, Endpoint]:
    """Return text and edit endpoint of a Nano Banana."""
    text = replace(
        _RATIOED, ratios=ratios, resolutions=resolutions, max_seed=INT32_SEEDS
    )
    edit = replace(
        text,
        references="many",
        max_references=14,
        needs_reference=True,
        reference_field="image_urls",
        reference_list=True,
    )
    return text, edit


_FLUX_2 = (
    replace(_SIZED, bounds=_FLUX_2_BOUNDS),
    replace(_EDITED, bounds=_FLUX_2_BOUNDS, max_references=4),
)
_FLUX_2_PRO = (_SIZED, replace(_EDITED, max_references=8))
_MINI_EDIT = replace(_GPT_IMAGE_EDIT, max_references=16)

# Pairs: a text endpoint, its edit endpoint, and what each of them takes.
_PAIRS = {
    ("fal-ai/flux-2", "fal-ai/flux-2/edit"): _FLUX_2,
    ("fal-ai/flux-2/turbo", "fal-ai/flux-2/turbo/edit"): _FLUX_2,
    ("fal-ai/flux-2/flash", "fal-ai/flux-2/flash/edit"): _FLUX_2,
    ("fal-ai/flux-2-pro", "fal-ai/flux-2-pro/edit"): _FLUX_2_PRO,
    ("fal-ai/flux-2-max", "fal-ai/flux-2-max/edit"): _FLUX_2_PRO,
    ("fal-ai/flux-2-flex", "fal-ai/flux-2-flex/edit"): _FLUX_2_PRO,
    ("fal-ai/nano-banana", "fal-ai/nano-banana/edit"): _nano_banana(COMMON_RATIOS),
    (
        "fal-ai/gemini-25-flash-image",
        "fal-ai/gemini-25-flash-image/edit",
    ): _nano_banana(COMMON_RATIOS),
    ("fal-ai/nano-banana-2", "fal-ai/nano-banana-2/edit"): _nano_banana(
        _FOUR_MORE, _HALF_K, _1K, _2K, _4K
    ),
    ("fal-ai/nano-banana-pro", "fal-ai/nano-banana-pro/edit"): _nano_banana(
        COMMON_RATIOS, _1K, _2K, _4K
    ),
    (
        "fal-ai/bytedance/seedream/v4/text-to-image",
        "fal-ai/bytedance/seedream/v4/edit",
    ): _seedream(960 * 960, 4096 * 4096),
    (
        "fal-ai/bytedance/seedream/v4.5/text-to-image",
        "fal-ai/bytedance/seedream/v4.5/edit",
    ): _seedream(2560 * 1440, 4096 * 4096),
    (
        "fal-ai/bytedance/seedream/v5/lite/text-to-image",
        "fal-ai/bytedance/seedream/v5/lite/edit",
    ): _seedream(2560 * 1440, 3072 * 3072, None),
    ("fal-ai/gpt-image-1.5", "fal-ai/gpt-image-1.5/edit"): (
        _GPT_IMAGE,
        replace(_GPT_IMAGE_EDIT, mask_field="mask_image_url", mask_is_alpha=True),
    ),
    ("fal-ai/gpt-image-1-mini", "fal-ai/gpt-image-1-mini/edit"): (
        _GPT_IMAGE,
        _MINI_EDIT,
    ),
    ("fal-ai/qwen-image-2/text-to-image", "fal-ai/qwen-image-2/edit"): (
        _QWEN_2,
        _QWEN_2_EDIT,
    ),
    ("fal-ai/qwen-image-2/pro/text-to-image", "fal-ai/qwen-image-2/pro/edit"): (
        _QWEN_2,
        _QWEN_2_EDIT,
    ),
    ("fal-ai/flux-pro/kontext/text-to-image", "fal-ai/flux-pro/kontext"): (
        _KONTEXT_TEXT,
        _KONTEXT,
    ),
    ("fal-ai/flux-pro/kontext/max/text-to-image", "fal-ai/flux-pro/kontext/max"): (
        _KONTEXT_TEXT,
        _KONTEXT,
    ),
    ("xai/grok-imagine-image", "xai/grok-imagine-image/edit"): (
        replace(_RATIOED, ratios=_IMAGEN_RATIOS, max_seed=None),
        replace(
            _EDITED,
            shape="omit",
            bounds=None,
            max_seed=None,
            max_references=3,
        ),
    ),
}
_ALONE = {
    "fal-ai/flux/dev": _SIZED,
    "fal-ai/flux/schnell": _SIZED,
    "fal-ai/flux/dev/image-to-image": Endpoint(
        source=_SOURCE,
        references="one",
        needs_reference=True,
        reference_field="image_url",
        max_seed=ALL_SEEDS,
    ),
    "fal-ai/flux-pro/v1.1": _SIZED,
    "fal-ai/flux-pro/v1.1-ultra": replace(
        _KONTEXT_TEXT, references="one", reference_field="image_url"
    ),
    "fal-ai/flux-pro/kontext/multi": _KONTEXT_MULTI,
    "fal-ai/flux-pro/kontext/max/multi": _KONTEXT_MULTI,
    "fal-ai/qwen-image": replace(_SIZED, options=_NEGATIVE),
    "fal-ai/qwen-image-2512": replace(_SIZED, options=_NEGATIVE),
    "fal-ai/qwen-image-edit": replace(
        _EDITED,
        references="one",
        reference_field="image_url",
        reference_list=False,
        options=_NEGATIVE,
    ),
    "fal-ai/qwen-image-edit-plus": _QWEN_EDIT_PLUS,
    "fal-ai/qwen-image-edit-2509": _QWEN_EDIT_PLUS,
    "fal-ai/qwen-image-edit-2511": _QWEN_EDIT_PLUS,
    "fal-ai/recraft/v3/text-to-image": replace(
        _SIZED, max_seed=None, options={"style": "style"}
    ),
    "fal-ai/recraft/v3/image-to-image": Endpoint(
        source=_SOURCE,
        references="one",
        needs_reference=True,
        reference_field="image_url",
        options={"style": "style", **_NEGATIVE},
    ),
    "fal-ai/recraft/v4/text-to-image": replace(_SIZED, max_seed=None),
    "fal-ai/recraft/v4/pro/text-to-image": replace(_SIZED, max_seed=None),
    # The pictures are style references.
    "fal-ai/ideogram/v3": replace(
        _EDITED,
        needs_reference=False,
        max_seed=INT32_SEEDS,
        options={"style": "style", **_NEGATIVE},
    ),
    "fal-ai/imagen4/preview": replace(
        _RATIOED, ratios=_IMAGEN_RATIOS, resolutions=(_1K, _2K)
    ),
    "fal-ai/imagen4/preview/ultra": replace(
        _RATIOED, ratios=_IMAGEN_RATIOS, resolutions=(_1K, _2K)
    ),
    "fal-ai/imagen4/preview/fast": replace(_RATIOED, ratios=_IMAGEN_RATIOS),
}

KNOWN = MappingProxyType(
    {text: replace(row, edit_model=edit) for (text, edit), (row, _) in _PAIRS.items()}
    | {edit: row for (_, edit), (_, row) in _PAIRS.items()}
    | _ALONE
)
UNKNOWN = Endpoint(
    source="unknown model",
    reference_field="image_urls",
    shape="image_size",
    bounds=_ANY_SIZE,
    max_seed=INT32_SEEDS,
)
