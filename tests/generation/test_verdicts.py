"""Answers without a picture, as each vendor sends them.

One table over all dialects: a refusal of the prompt, a blocked or unverified account,
or neither, and the cost of the call.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import pytest

from app.errors import CallEnd, GenerationError, PromptRejected, ProviderFailed
from app.generation.providers.openai.answers import without_picture
from app.generation.providers.replicate.predictions import _failure
from app.generation.transport.failures import failure_of
from app.generation.transport.vendor_api import Reply
from app.generation.transport.verdicts import verdict_of


class Case(NamedTuple):
    """An answer, and its verdict."""

    vendor: str
    status: int
    body: Any


AZURE_BLOCKED = (
    "Your resource has been temporarily blocked because we detected behavior that may "
    "violate our content policy."
)
AZURE_FILTERED = (
    "The response was filtered due to the prompt triggering Azure OpenAI's content "
    "management policy."
)

REFUSALS = [
    Case(
        "openai",
        400,
        {
            "error": {
                "message": "Your request was rejected by the safety system.",
                "type": "image_generation_user_error",
                "param": "",
                "code": "moderation_blocked",
            }
        },
    ),
    Case("azure", 400, {"error": {"code": "contentFilter", "message": "Filtered."}}),
    Case(
        "azure",
        400,
        {
            "error": {
                "code": "content_filter",
                "message": AZURE_FILTERED,
                "innererror": {"code": "ResponsibleAIPolicyViolation"},
            }
        },
    ),
    Case(
        "litellm",
        400,
        {
            "error": {
                "message": "AzureException - The response was filtered.",
                "type": None,
                "code": "400",
                "innererror": {"code": "ResponsibleAIPolicyViolation"},
            }
        },
    ),
    Case(
        "new-api",
        500,
        {
            "error": {
                "message": "no image generated, finish reason: IMAGE_SAFETY",
                "type": "upstream_error",
                "code": "bad_response",
            }
        },
    ),
    Case(
        "gateway",
        502,
        {"error": '{"error": {"code": "content_policy_violation", "message": "no"}}'},
    ),
    Case("stable-diffusion.cpp", 400, {"error": "This violates our content policy."}),
    Case(
        "fal",
        422,
        {
            "detail": [
                {"loc": ["body", "seed"], "msg": "odd", "type": "value_error"},
                {"loc": ["body"], "msg": "no", "type": "content_policy_violation"},
            ]
        },
    ),
    Case(
        "fal",
        422,
        {
            "detail": [
                {"loc": ["body"], "msg": "No media.", "type": "no_media_generated"}
            ]
        },
    ),
    Case("vllm-omni", 400, {"detail": "Blocked by the safety system."}),
]


@pytest.mark.parametrize(
    "case", REFUSALS, ids=lambda case: f"{case.vendor}-{case.status}"
)
def test_a_refusal_is_known_in_every_dialect(case: Case) -> None:
    """A refusal is recognised; it is free unless the provider had painted."""
    failure = failure_of(Reply(case.status, {}, case.body))

    assert isinstance(failure, PromptRejected)
    ran = case.status == 502
    assert failure.end is (CallEnd.BILLED if ran else CallEnd.CERTAIN)


WITHHELD = [
    {"data": [{"respect_moderation": False, "url": None}]},
    {"data": [{"respect_moderation": False, "url": "https://example.com/blank.png"}]},
    {"data": [{"b64_json": None}], "block_reason": "content_moderated"},
    {"data": [], "error": {"code": "moderation_blocked", "message": "no"}},
]


@pytest.mark.parametrize("body", WITHHELD)
def test_a_picture_that_is_withheld_costs_the_price(body: dict[str, Any]) -> None:
    """A picture withheld with a 200 is a refusal, and billed."""
    failure = without_picture(body)

    assert isinstance(failure, PromptRejected)
    assert failure.end is CallEnd.BILLED


def test_a_picture_that_respects_moderation_is_one() -> None:
    """A moderation flag beside a picture is ignored."""
    body = {"data": [{"respect_moderation": True, "b64_json": "eA=="}]}

    assert without_picture(body) is None


@pytest.mark.parametrize(
    "sentence",
    [
        "NSFW content detected. Try running it again, or try a different prompt.",
        "The input or output was flagged as sensitive. Please try again. (E005)",
        "Request Moderated",
        "Content Moderated: the prompt was not painted.",
        "The prompt violates Google's Responsible AI practices.",
        "Your request may violate our content policy.",
        "Image generation failed: PROHIBITED_CONTENT",
        "Output was blocked: IMAGE_SAFETY",
    ],
)
def test_replicate_refuses_in_a_sentence(sentence: str) -> None:
    """A Replicate job that fails with a refusing sentence is a refusal, and billed."""
    failure = _failure(sentence)

    assert isinstance(failure, PromptRejected)
    assert failure.end is CallEnd.BILLED


@pytest.mark.parametrize(
    "sentence",
    [
        "The safety checker's weights could not be loaded.",
        "Permission denied: /var/sensitive",
        "cannot load nsfw_detector.pt",
        "CUDA out of memory",
        "Prediction interrupted; please retry (code: PA)",
    ],
)
def test_a_word_alone_is_no_refusal(sentence: str) -> None:
    """A sentence with a single suspicious word is a failure, not a refusal."""
    assert type(_failure(sentence)) is ProviderFailed


ACCOUNTS = [
    (
        Case("azure", 403, {"error": {"code": "Forbidden", "message": AZURE_BLOCKED}}),
        "blocked",
    ),
    (
        Case(
            "gateway", 422, {"error": {"message": f'{{"message": "{AZURE_BLOCKED}"}}'}}
        ),
        "blocked",
    ),
    (
        Case(
            "openai",
            403,
            {
                "error": {
                    "message": "Your organization must be verified to use the model "
                    "`gpt-image-1`.",
                    "type": "invalid_request_error",
                    "code": None,
                }
            },
        ),
        "verified",
    ),
    (
        Case("openai", 401, {"error": {"code": "account_deactivated", "message": "x"}}),
        "blocked",
    ),
    (
        Case("openai", 429, {"error": {"code": "insufficient_quota", "message": "x"}}),
        "used up",
    ),
    (
        Case("fal", 403, {"detail": "User is locked. Reason: Exhausted balance."}),
        "used up",
    ),
    (
        Case("gateway", 403, {"error": "Your account has been suspended."}),
        "blocked",
    ),
]


@pytest.mark.parametrize(("case", "says"), ACCOUNTS)
def test_an_account_is_no_prompt(case: Case, says: str) -> None:
    """A problem of the account is a failed provider, not a refusal."""
    failure = failure_of(Reply(case.status, {}, case.body))

    assert type(failure) is ProviderFailed
    assert says in failure.detail
    assert failure.end is CallEnd.CERTAIN
    assert not failure.blames_request


@pytest.mark.parametrize(
    "document",
    [
        None,
        [],
        "text",
        {"error": None},
        {"error": {"message": 7, "code": ["moderation_blocked"]}},
        {"detail": [[[[[[[{"type": "moderation_blocked"}]]]]]]]},
        {"error": {"message": "Too many requests."}},
        {"prompt": "NSFW content", "input": {"prompt": "a content policy"}},
    ],
)
def test_other_answers_say_nothing_of_it(document: object) -> None:
    """Answers of other shapes have no verdict, even if they repeat the prompt."""
    assert verdict_of(document) is None


def test_an_odd_parameter_is_the_requests_own() -> None:
    """A 422 without a verdict does not count against the provider."""
    body = {"detail": [{"msg": "not a valid size", "type": "value_error"}]}
    failure: GenerationError = failure_of(Reply(422, {}, body))

    assert type(failure) is ProviderFailed
    assert failure.blames_request
