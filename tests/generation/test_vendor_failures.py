"""Failures of the connection to each vendor, and their cost."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
import time
import tracemalloc
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import orjson
import pytest

from app.errors import (
    BadImage,
    CallEnd,
    GenerationTimedOut,
    ProviderFailed,
    ProviderRateLimited,
)
from tests.generation.handles import picture_by
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
    from collections.abc import Iterator

    from tests.fake_provider import FakeProvider

pytestmark = pytest.mark.usefixtures("eager")


# Rate limits and quotas.


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"Retry-After": "7"}, 7.0),
        ({"retry-after-ms": "250", "Retry-After": "7"}, 0.25),
        (
            {
                "Date": "Thu, 26 Nov 2026 06:00:00 GMT",
                "Retry-After": "Thu, 26 Nov 2026 06:00:31 GMT",
            },
            31.0,
        ),
        ({"Retry-After": "3600"}, 120.0),
        ({}, 10.0),
    ],
    ids=["seconds", "milliseconds", "date", "huge", "none"],
)
@every_vendor
async def test_a_rate_limit_is_raised_with_its_hint(
    served: Served,
    provider: FakeProvider,
    *,
    vendor: Vendor,
    headers: dict[str, str],
    seconds: float,
) -> None:
    """A rate limit is raised with its hint, of 10 s by default and 120 s at most."""
    provider.behave("rate_limited", headers=headers)
    failure = await failure_of(vendor, served)

    assert isinstance(failure, ProviderRateLimited)
    assert failure.retry_after == timedelta(seconds=seconds)
    assert failure.end is CallEnd.CERTAIN
    assert provider.count(PROMPT) == 1


@pytest.mark.parametrize(("vendor", "seconds"), [(GEMINI, 31), (REPLICATE, 5)])
async def test_a_hint_in_the_body_counts(
    served: Served, provider: FakeProvider, *, vendor: Vendor, seconds: int
) -> None:
    """A Retry-After hint in the body is read."""
    provider.behave("rate_limited_in_body")

    failure = await failure_of(vendor, served)

    assert failure.retry_after == timedelta(seconds=seconds)


@pytest.mark.parametrize(
    ("vendor", "mode"),
    [
        (OPENAI, "quota"),
        (OPENAI, "spend_limit"),
        (GEMINI, "quota"),
        (REPLICATE, "quota"),
        (FAL, "quota"),
    ],
)
async def test_an_empty_account_is_no_rate_limit(
    served: Served, provider: FakeProvider, *, vendor: Vendor, mode: str
) -> None:
    """An empty account is a failed provider without a hint."""
    provider.behave(mode)
    failure = await failure_of(vendor, served)

    assert type(failure) is ProviderFailed
    assert failure.retry_after is None
    assert provider.count(PROMPT) == 1


# Errors.


@pytest.mark.parametrize(
    ("mode", "end"),
    [
        ("server_error", CallEnd.CERTAIN),
        ("unavailable", CallEnd.CERTAIN),
        ("truncated_error", CallEnd.CERTAIN),
        ("unauthenticated", CallEnd.CERTAIN),
        ("not_found", CallEnd.CERTAIN),
        ("bad_request", CallEnd.CERTAIN),
        # A gateway's error, or a connection cut after the request.
        ("bad_gateway", CallEnd.AMBIGUOUS),
        ("reset_before_headers", CallEnd.AMBIGUOUS),
        ("reset_in_body", CallEnd.AMBIGUOUS),
        ("short_body", CallEnd.AMBIGUOUS),
    ],
)
@every_vendor
async def test_only_a_gateways_error_or_a_cut_may_have_been_billed(
    served: Served, provider: FakeProvider, *, vendor: Vendor, mode: str, end: CallEnd
) -> None:
    """An error is a certain end, unless a gateway or a cut may hide a picture."""
    # Were it asked again, the second call would succeed.
    provider.behave(mode, times=1)
    failure = await failure_of(vendor, served)

    assert type(failure) is ProviderFailed
    assert failure.end is end
    assert len(provider.calls) == 1


async def test_googles_errors_in_a_list_are_read(
    served: Served, provider: FakeProvider
) -> None:
    """An error wrapped in a list is read."""
    provider.behave("error_in_list")

    assert type(await failure_of(GEMINI, served)) is ProviderFailed


@pytest.mark.parametrize(
    ("vendor", "mode"),
    [
        *((vendor, "gateway_timeout") for vendor in VENDORS),
        (GEMINI, "deadline"),
        (FAL, "request_timeout"),
    ],
)
async def test_a_vendors_own_time_out_is_one(
    served: Served, provider: FakeProvider, *, vendor: Vendor, mode: str
) -> None:
    """A vendor's own timeout is `GenerationTimedOut` with an ambiguous end."""
    provider.behave(mode)
    failure = await failure_of(vendor, served)

    assert isinstance(failure, GenerationTimedOut)
    assert failure.end is CallEnd.AMBIGUOUS
    assert provider.count(PROMPT) == 1


@pytest.mark.parametrize(
    ("vendor", "mode"),
    [
        *((vendor, "unauthenticated") for vendor in VENDORS),
        *((vendor, "forbidden") for vendor in VENDORS if vendor not in (A1111, OPENAI)),
        (GEMINI, "bad_key"),
    ],
)
async def test_a_refused_key_is_named_as_the_cause(
    served: Served, provider: FakeProvider, *, vendor: Vendor, mode: str
) -> None:
    """A refused key is reported without the key itself."""
    provider.behave(mode)
    failure = await failure_of(vendor, served)

    assert type(failure) is ProviderFailed
    assert failure.detail == "The image provider does not accept this service's key."


@every_vendor
async def test_keys_and_prompts_are_not_said_aloud(
    served: Served,
    provider: FakeProvider,
    caplog: pytest.LogCaptureFixture,
    vendor: Vendor,
) -> None:
    """No log, error or repr has a key or a prompt that a vendor echoes."""
    caplog.set_level(logging.DEBUG)
    said = repr(vendor.config(served.origin))
    echo = f"{vendor.key} {vendor.value} {PROMPT}"
    bodies = [
        {"error": {"code": vendor.key, "type": PROMPT, "message": echo}},
        {"error": vendor.key.replace(":", "_"), "detail": echo, "title": echo},
        {"detail": [{"type": vendor.key, "msg": echo}], "error_type": vendor.key},
        {"id": vendor.key, "request_id": vendor.key, "responseId": vendor.key},
    ]
    headers = {
        "x-request-id": vendor.key,
        "x-fal-request-id": f"req {PROMPT}",
        "x-fal-error-type": vendor.key,
    }
    for status in (200, 400, 401, 429, 500):
        for body in bodies:
            provider.behave("error", status=status, body=body, headers=headers)
            failure = await failure_of(vendor, served)
            said += f"{failure!r} {failure.detail} {failure.__dict__}"
    logged = " ".join(str(vars(record)) for record in caplog.records)

    for secret in (vendor.key, vendor.value, PROMPT):
        assert secret not in said + logged
    assert f'"{vendor.key}"' not in repr(vendor.adapter(served))


async def test_a_failure_can_be_traced_at_the_vendor(
    served: Served, provider: FakeProvider, caplog: pytest.LogCaptureFixture
) -> None:
    """The log has the vendor's request id, status and code."""
    caplog.set_level(logging.INFO, logger="app")
    for vendor in VENDORS:
        provider.behave("server_error", times=1)
        await failure_of(vendor, served)

    logged = [
        (
            vars(record)["provider"],
            vars(record)["provider_status"],
            vars(record)["provider_error_code"],
            vars(record)["provider_request_id"],
        )
        for record in caplog.records
        if record.getMessage() == "provider answered"
    ]
    assert logged == [
        ("openai", 500, "server_error", "req_fake"),
        ("gemini", 500, "INTERNAL", "req_fake"),
        ("replicate", 500, None, "req_fake"),
        ("fal", 500, None, "req_fake"),
        ("a1111", 500, "OutOfMemoryError", "req_fake"),
    ]


# Connections.


@every_vendor
async def test_an_unreachable_vendor_costs_nothing(
    served: Served, unused_tcp_port: int, vendor: Vendor
) -> None:
    """An unreachable vendor is a certain end."""
    for away in (
        f"http://127.0.0.1:{unused_tcp_port}",
        served.origin.replace("http://", "https://"),
        "http://lighthouse.invalid",
    ):
        failure = await failure_of(vendor, served._replace(origin=away))

        assert type(failure) is ProviderFailed
        assert failure.end is CallEnd.CERTAIN


@pytest.mark.parametrize("mode", ["never", "drip"])
@every_vendor
async def test_cancelling_closes_the_connection(
    served: Served, provider: FakeProvider, *, vendor: Vendor, mode: str
) -> None:
    """A cancelled call closes its connection."""
    provider.behave(mode)
    started = time.monotonic()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2):
            await picture_by(vendor.adapter(served), LIGHTHOUSE)
    seconds = time.monotonic() - started
    async with asyncio.timeout(5):
        await provider.until_aborted()

    assert provider.count(PROMPT) == 1
    assert seconds < 5


@every_vendor
async def test_an_answer_that_never_comes_delays_no_other(
    served: Served, provider: FakeProvider, vendor: Vendor
) -> None:
    """A call without an answer does not delay others in the same session."""
    provider.behave("drip", prompt="a fox")
    slow = asyncio.create_task(
        picture_by(vendor.adapter(served), type(LIGHTHOUSE)(prompt="a fox"))
    )
    try:
        assert await picture_by(vendor.adapter(served), LIGHTHOUSE)
    finally:
        slow.cancel()
        await asyncio.wait([slow])


# Memory.


@pytest.fixture(scope="module")
def steered() -> Iterator[str]:
    """Start the fake provider in a process with its own memory."""
    with subprocess.Popen(
        [sys.executable, "-m", "tests.fake_provider", "--port", "0"],
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        line = orjson.loads(process.stdout.readline())
        yield f"http://127.0.0.1:{line['port']}"
        process.terminate()


@pytest.mark.parametrize(
    "behaviour",
    [
        {"mode": "huge_length"},
        {"mode": "endless"},
        {"mode": "gzip_bomb"},
        {"mode": "ok", "picture_bytes": 45 << 20},
        {"mode": "ok", "picture_bytes": (1 << 20) + 1000},
    ],
    ids=["two gigabytes", "endless", "gzip bomb", "60 MB of base64", "just over"],
)
@every_vendor
async def test_a_huge_answer_takes_little_memory(
    served: Served, steered: str, *, vendor: Vendor, behaviour: dict[str, Any]
) -> None:
    """An answer of any size is read only up to the limit."""
    async with served.session.post(f"{steered}/_behaviour", json=behaviour) as answer:
        assert answer.status == 200
    tracemalloc.start()
    try:
        failure = await failure_of(vendor, served._replace(origin=steered))
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert isinstance(failure, BadImage)
    assert failure.end is CallEnd.BILLED
    assert peak_bytes < 24 << 20


# Probes.


@pytest.mark.parametrize(
    ("vendor", "has_one"),
    [
        *((OPENAI, True), (GEMINI, True), (REPLICATE, True), (FAL, False)),
        (A1111, True),
    ],
)
async def test_a_vendor_can_be_tried_without_paying(
    served: Served, provider: FakeProvider, *, vendor: Vendor, has_one: bool
) -> None:
    """A probe sends a free request, or none if the vendor has none."""
    assert await vendor.adapter(served).probe() == has_one
    assert provider.calls == []


async def test_a_probe_finds_a_key_that_is_wrong(served: Served) -> None:
    """A probe without a valid key raises."""
    with pytest.raises(ProviderFailed, match="key"):
        await REPLICATE.adapter(served, api_key=None).probe()
