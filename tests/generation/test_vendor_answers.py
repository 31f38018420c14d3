"""Answers of each vendor: pictures in every shape, refusals, and nonsense."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import pytest

from app.errors import (
    BadImage,
    CallEnd,
    PromptRejected,
    ProviderFailed,
)
from app.image import sniff
from tests.fake_provider import pictures
from tests.generation.handles import a_job, picture_by
from tests.generation.vendor_cases import (
    A1111,
    FAL,
    GEMINI,
    LIGHTHOUSE,
    OPENAI,
    PROMPT,
    REPLICATE,
    VENDORS,
    Served,
    Vendor,
    every_vendor,
    failure_of,
)

if TYPE_CHECKING:
    from tests.fake_provider import FakeProvider

pytestmark = pytest.mark.usefixtures("eager")


def cases(*rows: tuple[Vendor, str]) -> pytest.MarkDecorator:
    """Return a parameter for each vendor and mode."""
    return pytest.mark.parametrize(
        ("vendor", "mode"), rows, ids=[f"{row[0].name}-{row[1]}" for row in rows]
    )


# Pictures, in every documented shape.


@cases(
    (OPENAI, "url_absolute"),
    (OPENAI, "url_relative"),
    (OPENAI, "base64_lines"),
    (OPENAI, "base64_prefix"),
    (OPENAI, "base64_urlsafe"),
    (GEMINI, "snake_case"),
    (GEMINI, "thoughts"),
    (REPLICATE, "output_text"),
    (REPLICATE, "output_table"),
    (REPLICATE, "data_uri"),
    (REPLICATE, "early_output"),
    (FAL, "single"),
    (FAL, "data_uri"),
    (A1111, "base64_prefix"),
)
async def test_a_picture_in_another_shape_is_found(
    served: Served, provider: FakeProvider, *, vendor: Vendor, mode: str
) -> None:
    """A picture is found in each shape of a vendor's answer."""
    provider.behave(mode)
    picture = await picture_by(vendor.adapter(served), LIGHTHOUSE)

    assert picture == provider.calls[0].picture
    assert pictures.mark_of(picture)[0] == provider.calls[0].number


@every_vendor
async def test_the_bytes_say_what_they_are(
    served: Served, provider: FakeProvider, vendor: Vendor
) -> None:
    """The media type comes from the bytes, not from the vendor."""
    provider.behave("picture_jpeg")
    picture = await picture_by(vendor.adapter(served), LIGHTHOUSE)

    assert sniff(picture) == "image/jpeg"


@pytest.mark.parametrize(
    ("vendor", "model", "request_id"),
    [
        (OPENAI, "gpt-image-2", "req_fake"),
        (GEMINI, "gemini-3.1-flash-image", "req_fake"),
        (REPLICATE, "black-forest-labs/flux-schnell", None),
        (FAL, "fal-ai/flux/dev", "req_fake"),
        (A1111, "fake.safetensors", "req_fake"),
    ],
)
async def test_a_picture_comes_with_its_origin(
    served: Served,
    provider: FakeProvider,
    *,
    vendor: Vendor,
    model: str,
    request_id: str | None,
) -> None:
    """A picture has its vendor, model and request id."""
    painted = await vendor.adapter(served).paint(LIGHTHOUSE, a_job())

    assert (painted.origin.vendor, painted.origin.model) == (vendor.name, model)
    expected = request_id or next(iter(provider.jobs))
    assert painted.origin.request_id == expected
    assert not painted.origin.is_placeholder


# Refusals, also those that come with status 200.

REFUSED_BEFORE_PAINTING = {
    (OPENAI, "moderation"),
    (OPENAI, "content_policy"),
    (GEMINI, "prompt_blocked"),
    (FAL, "moderation_at_once"),
}


@cases(
    (OPENAI, "moderation"),
    (OPENAI, "content_policy"),
    (GEMINI, "prompt_blocked"),
    (GEMINI, "moderation"),
    (GEMINI, "recitation"),
    (GEMINI, "prohibited"),
    (REPLICATE, "moderation"),
    (REPLICATE, "sensitive"),
    (FAL, "moderation"),
    (FAL, "moderation_at_once"),
    (FAL, "nsfw"),
)
async def test_a_refusal_is_recognised(
    served: Served,
    provider: FakeProvider,
    caplog: pytest.LogCaptureFixture,
    *,
    vendor: Vendor,
    mode: str,
) -> None:
    """A refused prompt is `PromptRejected`, called once and not logged."""
    caplog.set_level(logging.DEBUG)
    provider.behave(mode)
    failure = await failure_of(vendor, served)

    assert isinstance(failure, PromptRejected)
    is_free = (vendor, mode) in REFUSED_BEFORE_PAINTING
    assert failure.end is (CallEnd.CERTAIN if is_free else CallEnd.BILLED)
    assert provider.count(PROMPT) == 1
    assert not any(PROMPT in str(vars(record)) for record in caplog.records)


# Answers without a picture.

UNNAMED_JOB = {
    *("html", "truncated_json", "array", "null", "text"),
    *("missing_data", "bad_id"),
}


@cases(
    *((vendor, "html") for vendor in VENDORS),
    *((vendor, "truncated_json") for vendor in VENDORS),
    *((vendor, "array") for vendor in VENDORS),
    *((vendor, "null") for vendor in VENDORS),
    *((vendor, "text") for vendor in VENDORS),
    *((vendor, "missing_data") for vendor in VENDORS),
    *((vendor, "empty_data") for vendor in VENDORS),
    *((vendor, "base64_garbage") for vendor in (OPENAI, GEMINI, A1111)),
    *((vendor, "base64_padding") for vendor in (OPENAI, GEMINI, A1111)),
    (OPENAI, "picture_empty"),
    (OPENAI, "null_picture"),
    (GEMINI, "no_image"),
    (GEMINI, "text_only"),
    (GEMINI, "picture_empty"),
    (REPLICATE, "output_null"),
    (REPLICATE, "output_number"),
    (REPLICATE, "polled_array"),
    (REPLICATE, "polled_null"),
    (REPLICATE, "bad_id"),
    (FAL, "output_null"),
    (FAL, "output_array"),
    (FAL, "output_number"),
    (FAL, "polled_array"),
    (FAL, "polled_null"),
    (A1111, "picture_empty"),
    (A1111, "null_picture"),
)
async def test_an_answer_without_a_picture_is_not_asked_for_again(
    served: Served, provider: FakeProvider, *, vendor: Vendor, mode: str
) -> None:
    """An answer without a picture is a `BadImage` after one call."""
    provider.behave(mode)
    failure = await failure_of(vendor, served)

    assert isinstance(failure, BadImage)
    # A job that was accepted and not named is lost.
    is_lost = vendor in (REPLICATE, FAL) and mode in UNNAMED_JOB
    assert failure.end is (CallEnd.AMBIGUOUS if is_lost else CallEnd.BILLED)
    assert provider.count(PROMPT) == 1


@every_vendor
@pytest.mark.parametrize(
    "mode",
    ["picture_html", "picture_svg", "picture_broken_png", "picture_enormous_png"],
)
async def test_what_the_bytes_are_is_not_the_adapters_business(
    served: Served, provider: FakeProvider, *, vendor: Vendor, mode: str
) -> None:
    """The adapter returns bytes without decoding them."""
    provider.behave(mode)

    assert await picture_by(vendor.adapter(served), LIGHTHOUSE)


# Jobs that end without one.


@cases(
    (REPLICATE, "failed"),
    (REPLICATE, "canceled"),
    (FAL, "failed"),
    (FAL, "invalid_input"),
)
async def test_a_job_that_fails_costs_the_price(
    served: Served, provider: FakeProvider, *, vendor: Vendor, mode: str
) -> None:
    """A job that failed after its start is billed."""
    provider.behave(mode)
    failure = await failure_of(vendor, served)

    assert type(failure) is ProviderFailed
    assert failure.end is CallEnd.BILLED
    assert provider.count(PROMPT) == 1


async def test_a_job_that_never_ran_is_free(
    served: Served, provider: FakeProvider
) -> None:
    """A job that was aborted before its start is free."""
    provider.behave("aborted")
    failure = await failure_of(REPLICATE, served)

    assert type(failure) is ProviderFailed
    assert failure.end is CallEnd.CERTAIN
