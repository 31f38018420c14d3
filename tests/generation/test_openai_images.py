"""The peculiarities of the OpenAI dialect."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any, Protocol

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from app.errors import (
    BadImage,
    CallEnd,
    GenerationError,
    PromptRejected,
    ProviderFailed,
)
from app.generation.model_config import ModelConfig
from app.generation.provider import PaintRequest, Reference
from app.generation.providers.openai.images import OpenAIImages
from app.generation.providers.openai.known_models import KNOWN
from app.generation.providers.openai.options import OpenAIOptions
from app.generation.shapes import plan_shape
from app.image import Image
from tests.fake_provider import FakeProvider, pictures
from tests.generation.handles import picture_by

if TYPE_CHECKING:
    import aiohttp

PROMPT = "a lighthouse in a storm"
KEY = "sk-Lighthouse-keeper"
LIGHTHOUSE = PaintRequest(prompt=PROMPT)
MAX_IMAGE_BYTES = 1 << 20


class MakeOpenAI(Protocol):
    """Makes an adapter; the defaults are those of a plain server with a key."""

    def __call__(
        self, *, model: str = ..., api_key: str | None = ..., **options: object
    ) -> OpenAIImages: ...


@pytest.fixture
def openai(session: aiohttp.ClientSession, origin: str) -> MakeOpenAI:
    """Give a maker of adapters for the fake provider."""

    def make(
        *, model: str = "gpt-image-2", api_key: str | None = KEY, **options: object
    ) -> OpenAIImages:
        config = ModelConfig(
            "default",
            "openai",
            model=model,
            base_url=f"{origin}/v1",
            api_key=api_key,
            options=options,
        )
        return OpenAIImages(config, session=session, max_image_bytes=MAX_IMAGE_BYTES)

    return make


def reference(number: int, media_type: str = "image/png", size: int = 0) -> Reference:
    """Return a picture that a caller might lend as a reference."""
    data = pictures.paint(
        number=number, prompt="reference", media_type=media_type, at_least_bytes=size
    )
    return Reference.of(Image.inspect(data))


async def failure_of(openai: OpenAIImages) -> GenerationError:
    """Return the error that painting the lighthouse raises."""
    with pytest.raises(GenerationError) as failure:
        await picture_by(openai, LIGHTHOUSE)
    return failure.value


# Requests.


async def test_options_are_passed_on_as_the_provider_documents_them(
    openai: MakeOpenAI, provider: FakeProvider
) -> None:
    """Unknown options are sent to the server, and `extra_body` overrides fields."""
    adapter = openai(
        model="x/z-image-turbo",
        quality="high",
        size="512x512",
        send_response_format="b64_json",
        extra_body={"quality": "max", "steps": 4, "edits": {"strength": 0.5}},
    )
    await picture_by(adapter, PaintRequest(prompt=PROMPT, seed=7))

    assert provider.calls[0].body == {
        "model": "x/z-image-turbo",
        "prompt": PROMPT,
        "n": 1,
        "quality": "max",
        "size": "512x512",
        "response_format": "b64_json",
        "steps": 4,
        "edits": {"strength": 0.5},
    }


async def test_a_seed_is_sent_where_the_server_knows_seeds(
    openai: MakeOpenAI, provider: FakeProvider
) -> None:
    """A server with seeds gets the caller's seed, or another one for each variant."""
    adapter = openai(model="flux", send_seed=True)
    for variant in range(16):
        await picture_by(adapter, PaintRequest(prompt=PROMPT, seed=0, variant=variant))
    await picture_by(adapter, LIGHTHOUSE)

    seeds = [call.body.get("seed") for call in provider.calls]
    assert seeds[0] == 0
    assert len(set(seeds[:16])) == 16
    assert all(0 <= seed < 2**32 for seed in seeds[:16] if seed is not None)
    assert seeds[16] is None


@pytest.mark.parametrize(
    ("model", "policy", "wish", "size"),
    [
        ("gpt-image-2", "snap", {"width": 1024, "height": 1024}, "1024x1024"),
        ("gpt-image-2", "snap", {"width": 1000, "height": 700}, "1008x704"),
        ("gpt-image-2", "snap", {"width": 512, "height": 512}, "816x816"),
        ("gpt-image-2", "snap", {"width": 64, "height": 4096}, "1280x3840"),
        ("gpt-image-2", "snap", {"width": 4096, "height": 3900}, "2944x2800"),
        ("gpt-image-2", "snap", {"width": 3840, "height": 2160}, "3840x2160"),
        ("gpt-image-2.5-flare", "snap", {"aspect_ratio": "16:9"}, "1280x720"),
        ("openai/gpt-image-2", "snap", {"aspect_ratio": "8:1"}, "2944x992"),
        ("gpt-image-1.5", "snap", {"width": 640, "height": 480}, "1536x1024"),
        ("gpt-image-1-mini", "snap", {"aspect_ratio": "9:16"}, "1024x1536"),
        ("chatgpt-image-latest", "snap", {"aspect_ratio": "1:1"}, "1024x1024"),
        ("flux", "snap", {"width": 333, "height": 444}, "333x444"),
        ("flux", "snap", {"aspect_ratio": "21:9"}, "1568x672"),
        ("gpt-image-2", "exact", {"width": 512, "height": 512}, "512x512"),
        ("gpt-image-2", "omit", {"width": 512, "height": 512}, None),
        ("gpt-image-2", "snap", {}, None),
    ],
)
async def test_a_size_is_asked_for_that_the_model_takes(
    openai: MakeOpenAI,
    provider: FakeProvider,
    *,
    model: str,
    policy: str,
    wish: dict[str, Any],
    size: str | None,
) -> None:
    """GPT image models get one of their sizes, other models the exact one."""
    adapter = openai(model=model, size_policy=policy)
    await picture_by(adapter, PaintRequest(prompt=PROMPT, **wish))

    assert provider.calls[0].body.get("size") == size


@given(width=st.integers(64, 4096), height=st.integers(64, 4096))
def test_every_size_is_within_the_models_bounds(width: int, height: int) -> None:
    """Every size for a GPT image model is within its bounds."""
    request = PaintRequest(prompt=PROMPT, width=width, height=height)
    size = plan_shape(request, KNOWN["gpt-image-2"]).size

    assert size is not None
    across, down = size
    assert across % 16 == down % 16 == 0
    assert max(across, down) <= min(3840, 3 * min(across, down))
    assert 655_360 <= across * down <= 8_294_400


async def test_references_go_out_as_files_in_order(
    openai: MakeOpenAI, provider: FakeProvider
) -> None:
    """References are sent in order as files with ASCII names."""
    first = reference(1)
    second = reference(2, "image/jpeg", size=3_000_000)
    request = PaintRequest(
        prompt="ein Leuchtturm im Stürm",
        width=1024,
        height=1024,
        references=(first, second),
    )
    await picture_by(
        openai(quality="high", extra_body={"steps": 4, "hires": True}), request
    )

    (call,) = provider.calls
    assert call.path == "/v1/images/edits"
    assert call.body == {
        "model": "gpt-image-2",
        "prompt": "ein Leuchtturm im Stürm",
        "n": "1",
        "size": "1024x1024",
        "quality": "high",
        "steps": "4",
        "hires": "true",
    }
    assert call.files == [
        {
            "name": "image[]",
            "filename": "reference-1.png",
            "content_type": "image/png",
            "data": first.data,
        },
        {
            "name": "image[]",
            "filename": "reference-2.jpg",
            "content_type": "image/jpeg",
            "data": second.data,
        },
    ]


async def test_servers_that_call_the_field_image_get_it_so(
    openai: MakeOpenAI, provider: FakeProvider
) -> None:
    """The field of references can be set to `image`."""
    request = PaintRequest(prompt=PROMPT, references=(reference(1), reference(2)))
    await picture_by(openai(image_field="image"), request)

    assert [file["name"] for file in provider.calls[0].files] == ["image", "image"]


async def test_references_for_a_server_that_takes_none_are_the_callers_mistake(
    openai: MakeOpenAI,
) -> None:
    """References are refused for a server that takes none."""
    refusal = openai(edits=False).capabilities.refusal(references=1)

    assert refusal is not None
    assert refusal.parameter == "references"


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"edits": "yes"}, "edits"),
        ({"extra_body": "steps=4"}, "extra_body"),
        ({"extra_body": {"prompt": "a fox"}}, "extra_body.prompt"),
        ({"extra_body": {"steps": float("inf")}}, "extra_body.steps"),
        ({"image_field": "images"}, "image_field"),
        ({"send_response_format": "url"}, "send_response_format"),
        ({"send_seed": 1}, "send_seed"),
        ({"size_policy": "round"}, "size_policy"),
        ({"size_policy": ["snap"]}, "size_policy"),
        ({"model": "dall-e-3"}, "model"),
        ({"n": 4}, "n"),
        ({"stream": True}, "stream"),
        ({"seed": 7}, "seed"),
        ({"response_format": "b64_json"}, "response_format"),
        ({"quality": float("nan")}, "quality"),
    ],
)
def test_wrong_options_are_named(options: dict[str, object], named: str) -> None:
    """A wrong option is a problem that names its key."""
    with pytest.raises(ValidationError) as caught:
        OpenAIOptions.model_validate(options)

    assert {".".join(map(str, error["loc"])) for error in caught.value.errors()} == {
        named
    }


def test_right_options_have_no_problems() -> None:
    """Documented options of the server are passed on unchecked."""
    options: dict[str, object] = {
        "quality": "high",
        "background": "transparent",
        "output_format": "webp",
        "output_compression": 80,
    }

    assert OpenAIOptions.model_validate(options).passed_on == options


# Pictures, in every form.


@pytest.mark.parametrize("form", ["data: prefix", "line breaks", "data: address"])
async def test_base64_in_other_wrappings_is_understood(
    openai: MakeOpenAI, provider: FakeProvider, form: str
) -> None:
    """Base64 is read from either field, as a data URL and with line breaks."""
    data = pictures.paint(number=1, prompt=PROMPT)
    uri = "data:image/png;base64," + base64.b64encode(data).decode()
    item = {
        "data: prefix": {"b64_json": uri},
        "line breaks": {"b64_json": base64.encodebytes(data).decode(), "url": None},
        "data: address": {"url": uri},
    }[form]
    provider.behave("given", body={"data": [item]})

    assert await picture_by(openai(), LIGHTHOUSE) == data


# Refusals and errors.


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (400, {"error": {"code": "moderation_blocked", "message": "no"}}),
        (400, {"error": {"code": "content_policy_violation", "message": "no"}}),
        (
            400,
            {
                "error": {
                    "type": "invalid_request_error",
                    "code": None,
                    "message": "Your request was rejected by our safety system.",
                }
            },
        ),
        (400, {"error": "This violates our content policy."}),
        (422, {"detail": [{"type": "content_policy_violation", "msg": "no"}]}),
        (403, {"detail": "Blocked by the safety system."}),
        (200, {"error": {"code": "moderation_blocked", "message": "no"}}),
    ],
)
async def test_a_refusal_is_recognised(
    openai: MakeOpenAI, provider: FakeProvider, status: int, body: dict[str, Any]
) -> None:
    """A refused prompt is `PromptRejected` in each envelope; only a 200 is billed."""
    provider.behave("error", status=status, body=body)
    failure = await failure_of(openai())

    assert isinstance(failure, PromptRejected)
    assert failure.end is (CallEnd.BILLED if status == 200 else CallEnd.CERTAIN)
    assert provider.count(PROMPT) == 1


@pytest.mark.parametrize(
    "code",
    [
        "insufficient_quota",
        "billing_hard_limit_reached",
        "project_spend_limit_exceeded",
    ],
)
async def test_an_empty_account_is_no_rate_limit(
    openai: MakeOpenAI, provider: FakeProvider, code: str
) -> None:
    """An empty account is a failed provider without Retry-After."""
    provider.behave("error", status=429, body={"error": {"code": code}})
    failure = await failure_of(openai())

    assert type(failure) is ProviderFailed
    assert failure.retry_after is None


@pytest.mark.parametrize("item", [[], {}, {"url": 7}, {"b64_json": 7}, "x", None])
async def test_an_item_of_another_shape_is_no_picture(
    openai: MakeOpenAI, provider: FakeProvider, item: object
) -> None:
    """JSON of any other shape is a `BadImage`."""
    provider.behave("given", body={"data": [item]})

    assert isinstance(await failure_of(openai()), BadImage)


async def test_a_post_after_others_is_not_repeated_either(
    openai: MakeOpenAI, provider: FakeProvider
) -> None:
    """A POST whose connection breaks is not repeated, even in a used session."""
    await picture_by(openai(), LIGHTHOUSE)
    provider.behave("reset_before_headers")
    await failure_of(openai())

    assert len(provider.calls) == 2
