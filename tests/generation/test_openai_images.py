"""The OpenAI adapter against a provider that does all that real ones have done."""

from __future__ import annotations

import asyncio
import base64
import logging
import sys
import tracemalloc
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Protocol

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from app.errors import (
    BadImage,
    GenerationError,
    InvalidParameter,
    PromptRejected,
    ProviderFailed,
    ProviderRateLimited,
)
from app.generation.config.models_file import ModelConfig
from app.generation.provider import ImageProvider, PaintRequest, Reference
from app.generation.providers.openai.images import OpenAIImages
from app.generation.providers.openai.options import OpenAIOptions
from app.generation.providers.openai.sizes import choose_size
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
    """Makes an adapter; what is not given is as for a plain server with a key."""

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
    """Return the error that painting the lighthouse ends with."""
    with pytest.raises(GenerationError) as failure:
        await picture_by(openai, LIGHTHOUSE)
    return failure.value


# What is asked.


async def test_a_plain_prompt_is_asked_for_in_as_few_words_as_possible(
    openai: MakeOpenAI, provider: FakeProvider
) -> None:
    """Unset parameters are left to the model; the bytes come back untouched."""
    adapter: ImageProvider = openai()
    provider.behave("url_relative")
    picture = await picture_by(adapter, LIGHTHOUSE)

    (call,) = provider.calls
    assert picture == call.picture
    assert (call.method, call.path) == ("POST", "/v1/images/generations")
    assert call.headers["Authorization"] == f"Bearer {KEY}"
    assert call.headers["Content-Type"] == "application/json"
    assert call.body == {"model": "gpt-image-2", "prompt": PROMPT, "n": 1}
    assert (adapter.vendor, adapter.takes_addresses) == ("openai", False)


@pytest.mark.parametrize("api_key", [None, ""])
async def test_a_server_that_wants_no_key_gets_none(
    openai: MakeOpenAI, provider: FakeProvider, api_key: str | None
) -> None:
    """Without a key there is no Authorization header, not an empty one."""
    await picture_by(openai(api_key=api_key), LIGHTHOUSE)

    assert "Authorization" not in provider.calls[0].headers


async def test_options_are_passed_on_as_the_provider_documents_them(
    openai: MakeOpenAI, provider: FakeProvider
) -> None:
    """Only the adapter's own options stay at home; the extra body has the last word."""
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
    """Variant 0 is the caller's seed, every other variant a seed of its own."""
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
    """GPT image models get their own sizes, other models exactly the wish."""
    adapter = openai(model=model, size_policy=policy)
    await picture_by(adapter, PaintRequest(prompt=PROMPT, **wish))

    assert provider.calls[0].body.get("size") == size


@given(width=st.integers(64, 4096), height=st.integers(64, 4096))
def test_every_size_is_within_the_models_bounds(width: int, height: int) -> None:
    """Multiples of 16, at most 3:1, not too few pixels, not too many."""
    request = PaintRequest(prompt=PROMPT, width=width, height=height)
    size = choose_size("gpt-image-2", "snap", request)

    assert size is not None
    across, down = (int(edge) for edge in size.split("x"))
    assert across % 16 == down % 16 == 0
    assert max(across, down) <= min(3840, 3 * min(across, down))
    assert 655_360 <= across * down <= 8_294_400


async def test_references_go_out_as_files_in_order(
    openai: MakeOpenAI, provider: FakeProvider
) -> None:
    """Each reference is a part of its own, large ones too, under an ASCII name."""
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
    """vLLM-Omni wants the files under `image`."""
    request = PaintRequest(prompt=PROMPT, references=(reference(1), reference(2)))
    await picture_by(openai(image_field="image"), request)

    assert [file["name"] for file in provider.calls[0].files] == ["image", "image"]


async def test_references_for_a_server_that_takes_none_are_the_callers_mistake(
    openai: MakeOpenAI, provider: FakeProvider
) -> None:
    """Nothing is painted, and nothing paid, as if the references were not there."""
    request = PaintRequest(prompt=PROMPT, references=(reference(1),))
    with pytest.raises(InvalidParameter) as failure:
        await picture_by(openai(edits=False), request)

    assert failure.value.parameter == "references"
    assert provider.calls == []


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
    """An operator learns which key is wrong before anything is painted."""
    with pytest.raises(ValidationError) as caught:
        OpenAIOptions.model_validate(options)

    assert {".".join(map(str, error["loc"])) for error in caught.value.errors()} == {
        named
    }


def test_right_options_have_no_problems() -> None:
    """What the provider documents is passed on unchecked."""
    options: dict[str, object] = {
        "quality": "high",
        "background": "transparent",
        "output_format": "webp",
        "output_compression": 80,
    }

    assert OpenAIOptions.model_validate(options).passed_on == options


# Pictures, in every form.


async def test_base64_comes_back_as_bytes(
    openai: MakeOpenAI, provider: FakeProvider
) -> None:
    """The picture is the one that was painted for this very call."""
    first = await picture_by(openai(), LIGHTHOUSE)
    second = await picture_by(openai(), LIGHTHOUSE)

    assert [pictures.mark_of(picture)[0] for picture in (first, second)] == [1, 2]
    assert Image.inspect(first).media_type == "image/png"
    assert provider.count(PROMPT) == 2


@pytest.mark.parametrize("form", ["data: prefix", "line breaks", "data: address"])
async def test_base64_in_other_wrappings_is_understood(
    openai: MakeOpenAI, provider: FakeProvider, form: str
) -> None:
    """Some servers send a data URI, in either field, or break lines."""
    data = pictures.paint(number=1, prompt=PROMPT)
    uri = "data:image/png;base64," + base64.b64encode(data).decode()
    item = {
        "data: prefix": {"b64_json": uri},
        "line breaks": {"b64_json": base64.encodebytes(data).decode(), "url": None},
        "data: address": {"url": uri},
    }[form]
    provider.behave("given", body={"data": [item]})

    assert await picture_by(openai(), LIGHTHOUSE) == data


@pytest.mark.parametrize("mode", ["url_absolute", "url_relative"])
async def test_an_address_at_the_provider_is_fetched_with_the_key(
    openai: MakeOpenAI, provider: FakeProvider, mode: str
) -> None:
    """A self-hosted server may serve its results itself, over plain http."""
    provider.behave(mode)
    picture = await picture_by(openai(), LIGHTHOUSE)

    assert picture == provider.calls[0].picture
    assert provider.fetches[0].headers["Authorization"] == f"Bearer {KEY}"


@pytest.mark.parametrize(
    ("mode", "fetches"), [("url_foreign", 0), ("url_redirect", 1), ("url_missing", 1)]
)
async def test_any_other_address_gives_no_picture(
    openai: MakeOpenAI, provider: FakeProvider, mode: str, fetches: int
) -> None:
    """Foreign hosts are not asked, redirects not followed; the painting is paid."""
    provider.behave(mode)
    failure = await failure_of(openai())

    assert isinstance(failure, BadImage)
    assert failure.maybe_billed
    assert len(provider.fetches) == fetches
    assert provider.count(PROMPT) == 1


@pytest.mark.parametrize(
    "mode",
    ["picture_html", "picture_svg", "picture_broken_png", "picture_enormous_png"],
)
async def test_what_the_bytes_are_is_not_the_adapters_business(
    openai: MakeOpenAI, provider: FakeProvider, mode: str
) -> None:
    """Bytes that are no picture are handed on to who checks them, not decoded."""
    provider.behave(mode)

    assert await picture_by(openai(), LIGHTHOUSE)


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
async def test_a_refusal_is_told_from_a_failure(
    openai: MakeOpenAI, provider: FakeProvider, status: int, body: dict[str, Any]
) -> None:
    """Whatever its envelope, a refusal is the prompt's fault and costs nothing."""
    provider.behave("error", status=status, body=body)
    failure = await failure_of(openai())

    assert isinstance(failure, PromptRejected)
    assert not failure.maybe_billed
    assert provider.count(PROMPT) == 1


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"Retry-After": "7"}, 7),
        ({"retry-after-ms": "250", "Retry-After": "7"}, 0.25),
        ({"Retry-After": "3600"}, 120),
        ({}, 10),
    ],
)
async def test_a_rate_limit_carries_the_providers_hint(
    openai: MakeOpenAI,
    provider: FakeProvider,
    headers: dict[str, str],
    seconds: float,
) -> None:
    """The caller learns how long to wait; the adapter does not wait itself."""
    provider.behave("rate_limited", headers=headers)
    failure = await failure_of(openai())

    assert isinstance(failure, ProviderRateLimited)
    assert failure.retry_after == timedelta(seconds=seconds)
    assert not failure.maybe_billed
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
    """Waiting does not fill an account, so no caller is told to wait."""
    provider.behave("error", status=429, body={"error": {"code": code}})
    failure = await failure_of(openai())

    assert type(failure) is ProviderFailed
    assert failure.retry_after is None


@pytest.mark.parametrize(
    ("behaviour", "maybe_billed"),
    [
        ({"mode": "unauthenticated"}, False),
        ({"mode": "error", "status": 403, "body": {"detail": "no"}}, False),
        ({"mode": "error", "status": 404, "body": {"error": "no such model"}}, False),
        ({"mode": "error", "status": 400, "body": {"error": {"code": "bad"}}}, False),
        ({"mode": "error", "status": 307, "headers": {"Location": "/x"}}, False),
        ({"mode": "server_error"}, False),
        ({"mode": "unavailable", "times": 1}, False),
        ({"mode": "bad_gateway"}, False),
        ({"mode": "error", "status": 500, "body": "x" * 200_000}, False),
        ({"mode": "reset_before_headers"}, True),
        ({"mode": "reset_in_body"}, True),
        ({"mode": "short_body"}, True),
    ],
)
async def test_errors_say_whether_they_may_have_been_billed(
    openai: MakeOpenAI,
    provider: FakeProvider,
    *,
    behaviour: dict[str, Any],
    maybe_billed: bool,
) -> None:
    """A clear error costs nothing, a cut connection may; neither is asked twice."""
    provider.behave(**behaviour)
    failure = await failure_of(openai())

    assert type(failure) is ProviderFailed
    assert failure.maybe_billed == maybe_billed
    assert len(provider.calls) == 1


@pytest.mark.parametrize(
    "mode",
    [
        "html",
        "truncated_json",
        "array",
        "null",
        "text",
        "missing_data",
        "empty_data",
        "null_picture",
        "base64_garbage",
        "picture_empty",
    ],
)
async def test_nonsense_with_status_200_may_have_been_billed(
    openai: MakeOpenAI, provider: FakeProvider, mode: str
) -> None:
    """An answer without a picture is an error, not a crash, and not asked for again."""
    provider.behave(mode)
    failure = await failure_of(openai())

    assert isinstance(failure, BadImage)
    assert failure.maybe_billed
    assert provider.count(PROMPT) == 1


@pytest.mark.parametrize("item", [[], {}, {"url": 7}, {"b64_json": 7}, "x", None])
async def test_an_item_of_another_shape_is_no_picture(
    openai: MakeOpenAI, provider: FakeProvider, item: object
) -> None:
    """No shape of JSON gets past the adapter as anything but a bad image."""
    provider.behave("given", body={"data": [item]})

    assert isinstance(await failure_of(openai()), BadImage)


async def test_an_unreachable_provider_costs_nothing(
    session: aiohttp.ClientSession, unused_tcp_port: int, origin: str
) -> None:
    """A refused connection, or one that speaks no TLS, is known to be unbilled."""
    for base_url in (
        f"http://127.0.0.1:{unused_tcp_port}/v1",
        origin.replace("http://", "https://") + "/v1",
        "http://",
    ):
        adapter = OpenAIImages(
            ModelConfig("default", "openai", model="gpt-image-2", base_url=base_url),
            session=session,
            max_image_bytes=MAX_IMAGE_BYTES,
        )
        failure = await failure_of(adapter)

        assert type(failure) is ProviderFailed
        assert not failure.maybe_billed


async def test_a_post_after_others_is_not_repeated_either(
    openai: MakeOpenAI, provider: FakeProvider
) -> None:
    """A connection that dies once the session is warm causes no second payment."""
    await picture_by(openai(), LIGHTHOUSE)
    provider.behave("reset_before_headers")
    await failure_of(openai())

    assert len(provider.calls) == 2


# Patience, memory and discretion.


@pytest.mark.parametrize("behaviour", ["never", "drip", "hold"])
async def test_cancelling_closes_the_connection(
    openai: MakeOpenAI, provider: FakeProvider, behaviour: str
) -> None:
    """When the caller's deadline passes, the provider sees that nobody waits."""
    provider.behave(behaviour)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2):
            await picture_by(openai(), LIGHTHOUSE)

    async with asyncio.timeout(5):
        await provider.until_aborted()
    assert provider.count(PROMPT) == 1


async def test_twenty_paintings_go_on_at_once(
    openai: MakeOpenAI, provider: FakeProvider
) -> None:
    """The session holds nobody back, and nobody gets another's picture."""
    provider.behave("hold")
    adapter = openai()
    prompts = [f"{PROMPT}, take {number}" for number in range(20)]
    paintings = [
        asyncio.create_task(picture_by(adapter, PaintRequest(prompt=prompt)))
        for prompt in prompts
    ]
    await provider.until_held(20)
    provider.release()
    marks = [pictures.mark_of(picture) for picture in await asyncio.gather(*paintings)]

    numbers = {call.prompt: call.number for call in provider.calls}
    assert [number for number, _ in marks] == [numbers[prompt] for prompt in prompts]


@pytest.mark.parametrize(
    "behaviour",
    [
        {"mode": "huge_length"},
        {"mode": "endless"},
        {"mode": "gzip_bomb"},
        {"mode": "ok", "picture_bytes": 45 << 20},
        {"mode": "ok", "picture_bytes": MAX_IMAGE_BYTES + 1000},
    ],
)
async def test_a_huge_answer_takes_little_memory(
    session: aiohttp.ClientSession, behaviour: dict[str, Any]
) -> None:
    """Whatever the provider promises or sends, reading stops at the limit."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "tests.fake_provider", "--port", "0"),
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    try:
        base_url = orjson.loads(await process.stdout.readline())["base_url"]
        control = base_url.removesuffix("/v1")
        async with session.post(f"{control}/_behaviour", json=behaviour) as answer:
            assert answer.status == 200
        adapter = OpenAIImages(
            ModelConfig("default", "openai", model="gpt-image-2", base_url=base_url),
            session=session,
            max_image_bytes=MAX_IMAGE_BYTES,
        )
        tracemalloc.start()
        failure = await failure_of(adapter)
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
        process.terminate()
        await process.communicate()

    assert isinstance(failure, BadImage)
    assert failure.maybe_billed
    assert peak_bytes < 24 << 20


@pytest.mark.parametrize(
    "behaviour",
    [
        {"mode": "ok"},
        {"mode": "moderation"},
        {"mode": "rate_limited"},
        {"mode": "html"},
        {"mode": "reset_before_headers"},
        {"mode": "url_foreign"},
        {
            "mode": "error",
            "status": 401,
            "headers": {"x-request-id": f"req {PROMPT}"},
            "body": {
                "error": {
                    "code": f"Incorrect API key provided: {KEY}",
                    "type": PROMPT,
                    "message": f"{KEY} {PROMPT}",
                }
            },
        },
    ],
)
async def test_neither_key_nor_prompt_is_said_aloud(
    openai: MakeOpenAI,
    provider: FakeProvider,
    origin: str,
    caplog: pytest.LogCaptureFixture,
    behaviour: dict[str, Any],
) -> None:
    """Not in logs, not in errors, however hard the provider tries to echo them."""
    caplog.set_level(logging.INFO, logger="app")
    provider.behave(**behaviour)
    try:
        await picture_by(openai(), LIGHTHOUSE)
    except GenerationError as failure:
        said = f"{failure!r} {failure.detail} {failure.__dict__}"
    else:
        said = ""
    logged = " ".join(str(vars(record)) for record in caplog.records)

    for secret in (KEY, PROMPT):
        assert secret not in said + logged
    assert origin.removeprefix("http://") not in said


async def test_a_failure_can_be_traced_at_the_provider(
    openai: MakeOpenAI, provider: FakeProvider, caplog: pytest.LogCaptureFixture
) -> None:
    """The log has the provider's request id, status and code: what support asks for."""
    caplog.set_level(logging.INFO, logger="app")
    provider.behave("server_error", times=1)
    await failure_of(openai())
    await picture_by(openai(), LIGHTHOUSE)

    fields = [
        (
            record.levelname,
            record.getMessage(),
            vars(record)["provider_status"],
            vars(record)["provider_error_code"],
            vars(record)["provider_request_id"],
        )
        for record in caplog.records
    ]
    assert fields == [
        ("WARNING", "provider answered", 500, "server_error", "req_fake"),
        ("INFO", "provider answered", 200, None, "req_fake"),
    ]
