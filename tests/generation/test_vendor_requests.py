"""Requests to each vendor: as documented, with few fields."""

from __future__ import annotations

import base64
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from tests.generation.handles import picture_by
from tests.generation.vendor_cases import (
    A1111,
    FAL,
    GEMINI,
    LIGHTHOUSE,
    OPENAI,
    PROMPT,
    REPLICATE,
    Served,
    Vendor,
    every_vendor,
    reference,
)

if TYPE_CHECKING:
    from app.generation.provider import PaintRequest
    from tests.fake_provider import FakeProvider

pytestmark = pytest.mark.usefixtures("eager")

# The request to each vendor for a plain prompt.
BODIES: dict[str, dict[str, Any]] = {
    "openai": {"model": "gpt-image-2", "prompt": PROMPT, "n": 1},
    "gemini": {
        "contents": [{"role": "user", "parts": [{"text": PROMPT}]}],
        "generationConfig": {"responseModalities": ["IMAGE"]},
    },
    "replicate": {"input": {"prompt": PROMPT}},
    "fal": {"prompt": PROMPT},
    "a1111": {
        "prompt": PROMPT,
        "seed": -1,
        "batch_size": 1,
        "n_iter": 1,
        "send_images": True,
        "save_images": False,
        "override_settings": {"sd_model_checkpoint": "fake.safetensors"},
    },
}


@every_vendor
async def test_a_plain_prompt(
    served: Served, provider: FakeProvider, vendor: Vendor
) -> None:
    """A plain prompt is sent without optional fields, and its bytes come back."""
    adapter = vendor.adapter(served)
    picture = await picture_by(adapter, LIGHTHOUSE)

    (call,) = provider.calls
    assert picture == call.picture
    assert (call.method, call.path) == ("POST", vendor.path)
    assert call.headers[vendor.header] == vendor.value
    assert call.headers["Content-Type"] == "application/json"
    assert call.body == BODIES[vendor.name]
    # It would hold the id of a paid job back until the job is done.
    assert "Prefer" not in call.headers
    assert adapter.vendor == vendor.name


@every_vendor
async def test_a_server_that_wants_no_key_gets_none(
    served: Served, provider: FakeProvider, vendor: Vendor
) -> None:
    """Without a key no header for it is sent."""
    await picture_by(vendor.adapter(served, api_key=None), LIGHTHOUSE)

    asked = [*provider.calls, *provider.polls, *provider.fetches]
    assert all(vendor.header not in call.headers for call in asked)


@pytest.mark.parametrize(
    ("model", "path", "version"),
    [
        ("o/n", "/v1/models/o/n/predictions", None),
        ("o/n:" + "a" * 64, "/v1/predictions", "o/n:" + "a" * 64),
        ("a" * 64, "/v1/predictions", "a" * 64),
        ("deployments/o/n", "/v1/deployments/o/n/predictions", None),
    ],
)
async def test_replicate_has_three_ways_to_name_a_model(
    served: Served,
    provider: FakeProvider,
    *,
    model: str,
    path: str,
    version: str | None,
) -> None:
    """Replicate's official models, deployments and versions have their own paths."""
    await picture_by(REPLICATE.adapter(served, model=model), LIGHTHOUSE)

    assert provider.calls[0].path == path
    assert provider.calls[0].body.get("version") == version


SIZED = replace(LIGHTHOUSE, width=1000, height=700)
WIDE = replace(LIGHTHOUSE, aspect_ratio="21:9")


@pytest.mark.parametrize(
    ("vendor", "model", "request_", "sent"),
    [
        (OPENAI, "", SIZED, {"size": "1008x704"}),
        (GEMINI, "", SIZED, {"aspectRatio": "3:2"}),
        (GEMINI, "", WIDE, {"aspectRatio": "21:9"}),
        (
            GEMINI,
            "",
            replace(LIGHTHOUSE, width=2048, height=1024),
            {"aspectRatio": "16:9", "imageSize": "2K"},
        ),
        (
            GEMINI,
            "gemini-3-pro-image",
            replace(LIGHTHOUSE, width=4000, height=4000),
            {"aspectRatio": "1:1", "imageSize": "4K"},
        ),
        (
            GEMINI,
            "gemini-2.5-flash-image",
            replace(LIGHTHOUSE, width=4000, height=1000),
            {"aspectRatio": "21:9"},
        ),
        (
            GEMINI,
            "gemini-3.1-flash-lite-image",
            replace(LIGHTHOUSE, width=4000, height=1000),
            {"aspectRatio": "4:1"},
        ),
        (REPLICATE, "", SIZED, {"aspect_ratio": "3:2"}),
        (REPLICATE, "", WIDE, {"aspect_ratio": "21:9"}),
        (REPLICATE, "o/n", SIZED, {"width": 1000, "height": 704}),
        (REPLICATE, "o/n", replace(WIDE, aspect_ratio="1:8"), {"aspect_ratio": "1:8"}),
        (FAL, "", SIZED, {"image_size": {"width": 1000, "height": 704}}),
        (FAL, "", WIDE, {"image_size": {"width": 1568, "height": 672}}),
        (FAL, "fal-ai/nano-banana", SIZED, {"aspect_ratio": "3:2"}),
        (A1111, "", SIZED, {"width": 1000, "height": 704}),
        (A1111, "", WIDE, {"width": 1568, "height": 672}),
    ],
)
async def test_a_shape_is_asked_for_that_the_model_takes(
    served: Served,
    provider: FakeProvider,
    *,
    vendor: Vendor,
    model: str,
    request_: PaintRequest,
    sent: dict[str, Any],
) -> None:
    """A request is mapped to the model's next size or nearest ratio."""
    await picture_by(vendor.adapter(served, model=model), request_)

    body = provider.calls[0].body
    shape = body.get("input", body)
    if vendor is GEMINI:
        shape = body["generationConfig"]["imageConfig"]
    names = {"size", "aspectRatio", "imageSize", "aspect_ratio", "image_size"}
    names |= {"width", "height"}
    assert {name: shape[name] for name in names & set(shape)} == sent


@pytest.mark.parametrize(
    ("vendor", "options", "seed", "sent"),
    [
        (OPENAI, {"send_seed": True}, 2**32 - 1, 2**32 - 1),
        (OPENAI, {}, 7, None),
        (GEMINI, {}, 0, 0),
        (GEMINI, {}, 2**31 + 5, 5),
        (GEMINI, {"send_seed": False}, 7, None),
        (REPLICATE, {}, 0, 0),
        (REPLICATE, {"send_seed": False}, 7, None),
        (FAL, {}, 2**32 - 1, 2**32 - 1),
        (A1111, {}, 0, 0),
    ],
)
async def test_a_seed_goes_where_the_vendor_knows_seeds(
    served: Served,
    provider: FakeProvider,
    *,
    vendor: Vendor,
    options: dict[str, object],
    seed: int,
    sent: int | None,
) -> None:
    """A seed is sent if the vendor has seeds, within its range."""
    adapter = vendor.adapter(served, options=options)
    for variant in range(2):
        request = replace(LIGHTHOUSE, seed=seed, variant=variant)
        await picture_by(adapter, request)

    bodies: list[dict[str, Any]] = [
        call.body.get("generationConfig") or call.body.get("input") or call.body
        for call in provider.calls
    ]
    assert bodies[0].get("seed") == sent
    assert sent is None or bodies[1]["seed"] != sent


@pytest.mark.parametrize(
    ("vendor", "options", "sent"),
    [
        (
            GEMINI,
            {
                "temperature": 0.5,
                "imageConfig": {"imageSize": "4K"},
                "safetySettings": [{"category": "C", "threshold": "BLOCK_NONE"}],
            },
            {
                "contents": [{"role": "user", "parts": [{"text": PROMPT}]}],
                "generationConfig": {
                    "temperature": 0.5,
                    "responseModalities": ["IMAGE"],
                    "imageConfig": {"imageSize": "4K"},
                },
                "safetySettings": [{"category": "C", "threshold": "BLOCK_NONE"}],
            },
        ),
        (
            REPLICATE,
            {"output_format": "png", "input": {"send_seed": 1}},
            {"input": {"prompt": PROMPT, "output_format": "png", "send_seed": 1}},
        ),
        (
            FAL,
            {"num_inference_steps": 4, "input": {"sync_mode": True}},
            {"prompt": PROMPT, "num_inference_steps": 4, "sync_mode": True},
        ),
        (
            A1111,
            {"steps": 20, "override_settings": {"CLIP_stop_at_last_layers": 2}},
            BODIES["a1111"]
            | {
                "steps": 20,
                "override_settings": {
                    "CLIP_stop_at_last_layers": 2,
                    "sd_model_checkpoint": "fake.safetensors",
                },
            },
        ),
    ],
)
async def test_options_are_passed_on_as_the_vendor_documents_them(
    served: Served,
    provider: FakeProvider,
    *,
    vendor: Vendor,
    options: dict[str, object],
    sent: dict[str, Any],
) -> None:
    """Options other than the adapter's own are sent to the vendor."""
    await picture_by(vendor.adapter(served, options=options), LIGHTHOUSE)

    assert provider.calls[0].body == sent


# References.

TAKES_REFERENCES = {
    "replicate": "google/nano-banana",
    "fal": "fal-ai/nano-banana/edit",
}
FIRST, SECOND = reference(1), reference(2, "image/jpeg")
LENT = replace(FIRST, url="https://lend.example.com/api/images/1.png")


def inline(number: int) -> str:
    """Return a reference as base64."""
    return base64.b64encode((FIRST, SECOND)[number].data).decode()


@every_vendor
async def test_references_go_out_in_order(
    served: Served, provider: FakeProvider, vendor: Vendor
) -> None:
    """References are sent in order, in each vendor's form, with their own type."""
    model = TAKES_REFERENCES.get(vendor.name, "")
    request = replace(LIGHTHOUSE, references=(FIRST, SECOND))
    await picture_by(vendor.adapter(served, model=model), request)

    (call,) = provider.calls
    uris = [
        f"data:image/png;base64,{inline(0)}",
        f"data:image/jpeg;base64,{inline(1)}",
    ]
    match vendor.name:
        case "openai":
            assert call.path == "/v1/images/edits"
            assert [
                (file["name"], file["filename"], file["content_type"])
                for file in call.files
            ] == [
                ("image[]", "reference-1.png", "image/png"),
                ("image[]", "reference-2.jpg", "image/jpeg"),
            ]
        case "gemini":
            assert call.body["contents"][0]["parts"] == [
                {"inlineData": {"mimeType": "image/png", "data": inline(0)}},
                {"inlineData": {"mimeType": "image/jpeg", "data": inline(1)}},
                {"text": PROMPT},
            ]
        case "replicate":
            assert call.body["input"]["image_input"] == uris
        case "fal":
            assert call.body["image_urls"] == uris
        case "a1111":
            assert call.path == "/sdapi/v1/img2img"
            assert call.body["init_images"] == [inline(0), inline(1)]
    if call.files:
        assert [file["data"] for file in call.files] == [FIRST.data, SECOND.data]


@every_vendor
async def test_a_reference_that_is_lent_goes_as_its_address_where_that_is_fetched(
    served: Served, provider: FakeProvider, vendor: Vendor
) -> None:
    """Replicate and fal get a lent reference's address, others its bytes."""
    model = TAKES_REFERENCES.get(vendor.name, "")
    adapter = vendor.adapter(served, model=model)
    await picture_by(adapter, replace(LIGHTHOUSE, references=(LENT,)))

    assert adapter.takes_addresses == vendor.has_jobs
    sent = str(provider.calls[0].body)
    assert (LENT.url in sent if LENT.url else False) == vendor.has_jobs
    assert bool(provider.calls[0].files) != vendor.has_jobs


@pytest.mark.parametrize(
    ("vendor", "model", "options", "field", "is_list"),
    [
        (REPLICATE, "o/n", {"references": "one"}, "image", False),
        (REPLICATE, "black-forest-labs/flux-kontext-pro", {}, "input_image", False),
        (REPLICATE, "black-forest-labs/flux-2-pro", {}, "input_images", True),
        (REPLICATE, "o/n", {"reference_field": "start"}, "start", False),
        (
            REPLICATE,
            "google/nano-banana",
            {"reference_field": "start", "reference_list": False},
            "start",
            False,
        ),
        (REPLICATE, "o/n", {"reference_list": True}, "image", True),
        (FAL, "fal-ai/nano-banana/edit", {}, "image_urls", True),
        (FAL, "fal-ai/flux-pro/kontext", {}, "image_url", False),
        (FAL, "fal-ai/flux-pro/kontext/max/multi", {}, "image_urls", True),
        (
            FAL,
            "o/n",
            {"reference_field": "pictures", "reference_list": True},
            "pictures",
            True,
        ),
    ],
)
async def test_each_model_has_its_own_field_for_references(
    served: Served,
    provider: FakeProvider,
    *,
    vendor: Vendor,
    model: str,
    options: dict[str, object],
    field: str,
    is_list: bool,
) -> None:
    """References are sent in the model's own field."""
    adapter = vendor.adapter(served, model=model, options=options)
    await picture_by(adapter, replace(LIGHTHOUSE, references=(LENT,)))

    body = provider.calls[0].body
    assert body.get("input", body)[field] == ([LENT.url] if is_list else LENT.url)
    assert (adapter.capabilities.refusal(references=2) is None) == is_list
