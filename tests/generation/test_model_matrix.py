"""Every known model with every kind of request.

The requests are compared with facts of the vendors' own schemas, which are written down
here a second time and by hand. A difference is a mistake in one of the two places.
"""

from __future__ import annotations

import asyncio
import io
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import PIL.Image
import pytest

from app.api.parameters import ASPECT_RATIOS
from app.generation.finishing import Finishing
from app.generation.model_config import ModelConfig
from app.generation.provider import Origin, PaintRequest, ProviderPicture, Reference
from app.generation.providers.a1111.known_models import SERVER
from app.generation.providers.fal.known_models import KNOWN as FAL
from app.generation.providers.gemini.images import GeminiImages
from app.generation.providers.gemini.known_models import KNOWN as GEMINI
from app.generation.providers.inputs import InputOptions, input_for
from app.generation.providers.known import capabilities_of
from app.generation.providers.openai.known_models import KNOWN as OPENAI
from app.generation.providers.replicate.known_models import KNOWN as REPLICATE
from app.generation.shapes import plan_shape, value_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from app.generation.capabilities import Capabilities, Endpoint

PROMPT = PaintRequest("a lighthouse in a storm")
PICTURE = Reference(b"picture", "image/png", "0" * 64)
TABLES: dict[str, Mapping[str, Endpoint]] = {
    "openai": OPENAI,
    "gemini": GEMINI,
    "replicate": REPLICATE,
    "fal": FAL,
    "a1111": {"": SERVER},
}
ROWS = [
    pytest.param(vendor, model, id=f"{vendor}:{model}")
    for vendor, table in TABLES.items()
    for model in table
]
SIZES = [(64, 64), (1000, 700), (4096, 3900), (128, 96), (640, 4096)]
SEEDS = [0, 1, 2**31 - 1, 2**31, 2**32 - 1]


def capabilities(vendor: str, model: str) -> Capabilities:
    """Return the capabilities of a model without any option."""
    table = TABLES[vendor]
    return capabilities_of(model, InputOptions(), known=table, unknown=SERVER)


def shaped() -> list[PaintRequest]:
    """Return a request for each aspect ratio, and for exact sizes."""
    ratios = [replace(PROMPT, aspect_ratio=ratio) for ratio in sorted(ASPECT_RATIOS)]
    return ratios + [replace(PROMPT, width=w, height=h) for w, h in SIZES]


def going_by(
    endpoint: Endpoint, capabilities: Capabilities, request: PaintRequest
) -> PaintRequest:
    """Return *request* with a reference if the model needs one."""
    is_needed = endpoint.needs_reference and capabilities.edit is None
    return replace(request, references=(PICTURE,)) if is_needed else request


@pytest.mark.parametrize(("vendor", "model"), ROWS)
def test_every_request_is_painted_or_refused_with_its_parameter(
    vendor: str, model: str
) -> None:
    """Each model takes a number of references and a mask, or refuses by parameter."""
    can = capabilities(vendor, model)
    for count in (0, 1, 3, 17):
        refusal = can.refusal(references=count)
        takes = can.endpoint(count)
        fits = takes.needs_reference <= count <= takes.reference_limit
        assert (refusal is None) == fits
        assert refusal is None or refusal.parameter == "references"
    masked = can.refusal(references=1, has_mask=True)
    if can.reference_limit:
        assert (masked is None) == (can.endpoint(1).mask_field is not None)
        assert masked is None or masked.parameter == "mask"
    refused = can.refusal(references=can.text.needs_reference, options=["no_such"])
    assert refused is not None
    assert refused.parameter == "no_such"


@pytest.mark.parametrize(("vendor", "model"), ROWS)
def test_every_shape_is_one_that_the_model_paints(vendor: str, model: str) -> None:
    """Each planned shape is one of the model's ratios, sizes or bounds."""
    can = capabilities(vendor, model)
    for wanted in shaped():
        for count in range(2 if can.reference_limit else 1):
            endpoint = can.endpoint(count)
            plan = plan_shape(wanted, endpoint)
            assert (plan.ratio is None) or plan.ratio in endpoint.ratios
            names = [name for name, _ in endpoint.resolutions]
            assert plan.resolution is None or plan.resolution in names
            if plan.size is not None and endpoint.sizes:
                assert "x".join(map(str, plan.size)) in endpoint.sizes
            elif plan.size is not None and endpoint.bounds is not None:
                assert endpoint.bounds.allows(*plan.size), (wanted, plan)


@pytest.mark.parametrize(("vendor", "model"), ROWS)
def test_every_seed_is_folded_into_those_of_the_model(vendor: str, model: str) -> None:
    """Every seed is mapped into the model's range; a model without seeds gets none."""
    can = capabilities(vendor, model)
    most = can.text.max_seed
    for seed in SEEDS:
        for variant in (0, 1, 15):
            asked = replace(PROMPT, seed=seed, variant=variant)
            body = input_for(going_by(can.text, can, asked), InputOptions(), can)
            sent = body.get("seed")
            assert (sent is None) == (most is None)
            assert sent is None or most is None or 0 <= sent <= most


def painted(plan_ratio: float) -> bytes:
    """Return a small picture of about the planned ratio."""
    height = 120
    data = io.BytesIO()
    size = (max(1, round(height * plan_ratio)), height)
    PIL.Image.new("RGB", size, "teal").save(data, "PNG")
    return data.getvalue()


RATIOED = [
    ("gemini", "gemini-2.5-flash-image"),
    ("replicate", "bytedance/seedream-4.5"),
    ("replicate", "google/imagen-4"),
    ("fal", "fal-ai/gpt-image-1.5"),
    ("fal", "xai/grok-imagine-image"),
    ("openai", "gpt-image-1.5"),
    ("openai", "gpt-image-2"),
]


@pytest.mark.parametrize(("vendor", "model"), RATIOED)
async def test_the_picture_has_the_ratio_that_was_asked_for(
    vendor: str, model: str
) -> None:
    """The cropped picture has exactly the requested ratio."""
    can = capabilities(vendor, model)
    finishing = Finishing(max_image_bytes=1 << 20, marks=False)

    async def finished(ratio: str) -> None:
        asked = replace(PROMPT, aspect_ratio=ratio)
        plan = plan_shape(asked, can.text)
        shape = value_of(plan.ratio) if plan.ratio else 1.0
        if plan.size:
            shape = plan.size[0] / plan.size[1]
        came = ProviderPicture(painted(shape), Origin(vendor, model))
        image, _ = await finishing.finish(came, asked, is_shaped=plan.is_exact)
        across, down = map(int, ratio.split(":"))
        if plan.is_exact:
            assert abs(image.width / image.height / (across / down) - 1) < 0.05
        else:
            assert image.width * down == image.height * across

    await asyncio.gather(*map(finished, sorted(ASPECT_RATIOS)))


# Facts of the vendors' schemas, read on 2026-11-29: fields that exist.

FIELDS: dict[tuple[str, str], set[str]] = {
    ("replicate", "black-forest-labs/flux-schnell"): {"prompt", "seed", "aspect_ratio"},
    ("replicate", "google/imagen-4"): {"prompt", "aspect_ratio"},
    ("replicate", "runwayml/gen4-image"): {
        *("prompt", "seed", "aspect_ratio", "resolution", "reference_images"),
    },
    ("replicate", "prunaai/p-image-edit"): {
        *("prompt", "seed", "aspect_ratio", "images"),
    },
    ("replicate", "bytedance/seedream-4"): {
        *("prompt", "size", "width", "height", "aspect_ratio", "image_input"),
    },
    ("replicate", "bytedance/seedream-5-lite"): {
        *("prompt", "size", "aspect_ratio", "image_input"),
    },
    ("replicate", "google/nano-banana-2"): {
        *("prompt", "aspect_ratio", "resolution", "image_input"),
    },
    ("replicate", "black-forest-labs/flux-2-pro"): {
        *("prompt", "seed", "aspect_ratio", "width", "height", "input_images"),
    },
    ("replicate", "openai/gpt-image-2"): {"prompt", "aspect_ratio", "input_images"},
    ("replicate", "qwen/qwen-image-edit"): {"prompt", "seed", "image"},
    ("fal", "fal-ai/flux/dev"): {"prompt", "seed", "image_size"},
    ("fal", "fal-ai/nano-banana"): {"prompt", "seed", "aspect_ratio", "image_urls"},
    ("fal", "fal-ai/gpt-image-1.5"): {"prompt", "image_size", "image_urls"},
    ("fal", "fal-ai/bytedance/seedream/v5/lite/text-to-image"): {
        *("prompt", "image_size", "image_urls"),
    },
    ("fal", "xai/grok-imagine-image"): {"prompt", "aspect_ratio", "image_urls"},
    ("fal", "fal-ai/qwen-image-edit-plus"): {
        *("prompt", "seed", "image_size", "image_urls"),
    },
}
IDEOGRAM = ("ideogram-ai/ideogram-v3-turbo", "fal-ai/ideogram/v3")


@pytest.mark.parametrize(("vendor", "model"), FIELDS, ids=lambda name: name)
def test_only_fields_of_the_vendors_schema_are_sent(vendor: str, model: str) -> None:
    """Only fields of the model's schema are sent."""
    can = capabilities(vendor, model)
    for wanted in shaped():
        for count in range(min(can.reference_limit, 3) + 1):
            if can.refusal(references=count) is not None:
                continue
            asked = replace(wanted, seed=7, references=(PICTURE,) * count)
            body = input_for(asked, InputOptions(), can)
            assert set(body) <= FIELDS[vendor, model], body


@pytest.mark.parametrize("model", IDEOGRAM)
def test_ideogram_gets_no_seed_beyond_an_int32(model: str) -> None:
    """Ideogram gets seeds within 31 bits."""
    vendor = "fal" if model.startswith("fal") else "replicate"
    asked = replace(PROMPT, seed=1, variant=1)

    body = input_for(asked, InputOptions(), capabilities(vendor, model))

    assert 0 <= body["seed"] <= 2**31 - 1


@pytest.mark.parametrize(
    ("model", "ratios"),
    [
        ("gemini-3-pro-image", 10),
        ("gemini-2.5-flash-image", 10),
        ("gemini-3.1-flash-image", 14),
        ("models/gemini-3.1-flash-image", 14),
    ],
)
def test_gemini_is_asked_for_ratios_of_its_own(model: str, ratios: int) -> None:
    """Each Gemini model gets only its own ratios, whatever the id's spelling."""
    config = ModelConfig("default", "gemini", model=model, base_url="http://x")
    adapter: Any = GeminiImages(config, session=None, max_image_bytes=1)  # type: ignore[arg-type]
    seen = set()
    for wanted in shaped():
        body = adapter._body(wanted)
        seen.add(body["generationConfig"]["imageConfig"]["aspectRatio"])

    assert len(adapter.capabilities.text.ratios) == ratios
    assert seen <= set(adapter.capabilities.text.ratios)
