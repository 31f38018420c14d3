"""Pictures at addresses that an answer names: fetched with checks."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from app.errors import BadImage, CallEnd
from app.generation.commission import Commission
from tests.fake_provider import FakeProvider, pictures, serve
from tests.generation.handles import picture_by
from tests.generation.vendor_cases import (
    FAL,
    LIGHTHOUSE,
    OPENAI,
    PROMPT,
    REPLICATE,
    Served,
    Vendor,
    every_vendor,
    failure_of,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

pytestmark = pytest.mark.usefixtures("eager")

by_address = pytest.mark.parametrize(
    "vendor", [OPENAI, REPLICATE, FAL], ids=lambda vendor: vendor.name
)


@pytest.fixture
async def elsewhere() -> AsyncIterator[tuple[FakeProvider, str]]:
    """Give another host that serves pictures."""
    host = FakeProvider()
    async with serve(host) as origin:
        yield host, origin


def address_mode(vendor: Vendor) -> str:
    """Return the mode in which *vendor* answers with an address."""
    return "url_absolute" if vendor is OPENAI else "ok"


@by_address
async def test_a_picture_at_the_own_origin_is_fetched_with_the_key(
    served: Served, provider: FakeProvider, vendor: Vendor
) -> None:
    """A picture at the vendor's own origin is fetched with the key."""
    provider.behave(address_mode(vendor))
    picture = await picture_by(vendor.adapter(served), LIGHTHOUSE)

    assert picture == provider.calls[0].picture
    assert [call.headers.get("Authorization") for call in provider.fetches] == [
        vendor.value
    ]


@by_address
async def test_a_delivery_host_gets_no_key(
    served: Served,
    provider: FakeProvider,
    elsewhere: tuple[FakeProvider, str],
    vendor: Vendor,
) -> None:
    """A picture at an allowed host is fetched without the key."""
    host, there = elsewhere
    provider.behave(address_mode(vendor), results_at=there)
    adapter = vendor.adapter(served, result_hosts=(there,))

    with pytest.raises(BadImage):
        # It has no such picture; only the request's headers matter.
        await picture_by(adapter, LIGHTHOUSE, seconds=0.2)

    assert host.fetches
    for fetch in host.fetches:
        assert vendor.key not in str(fetch.headers)
        assert "Authorization" not in fetch.headers


@by_address
async def test_another_origin_is_not_asked(
    served: Served,
    provider: FakeProvider,
    elsewhere: tuple[FakeProvider, str],
    vendor: Vendor,
) -> None:
    """An origin that is not allowed gets no request."""
    host, there = elsewhere
    provider.behave(address_mode(vendor), results_at=there)

    failure = await failure_of(vendor, served)

    assert isinstance(failure, BadImage)
    assert failure.end is CallEnd.BILLED
    assert host.fetches == []


@pytest.mark.parametrize(
    ("mode", "fetches"),
    [
        ("url_foreign", 0),
        ("url_metadata", 0),
        ("url_redirect", 1),
    ],
)
@by_address
async def test_any_other_address_gives_no_picture(
    served: Served, provider: FakeProvider, *, vendor: Vendor, mode: str, fetches: int
) -> None:
    """Other addresses and redirects are a `BadImage`, and billed."""
    provider.behave(mode)

    failure = await failure_of(vendor, served)

    assert isinstance(failure, BadImage)
    assert failure.end is CallEnd.BILLED
    assert len(provider.fetches) == fetches
    assert provider.count(PROMPT) == 1


@by_address
async def test_a_delivery_host_that_stumbles_costs_no_painting(
    served: Served, provider: FakeProvider, vendor: Vendor
) -> None:
    """M4: a download is repeated after 404, 503, a cut and a reset."""
    stumbles = ("missing", "overloaded", "short_body", "reset_in_body", "missing")
    provider.behave(address_mode(vendor), stumbles=stumbles)

    picture = await picture_by(vendor.adapter(served), LIGHTHOUSE)

    assert picture == provider.calls[0].picture
    assert len(provider.fetches) == len(stumbles) + 1
    assert provider.count(PROMPT) == 1


@pytest.mark.parametrize("mode", ["url_missing", "url_forbidden"])
@by_address
async def test_a_result_that_is_missing_is_asked_for_until_the_deadline(
    served: Served, provider: FakeProvider, *, vendor: Vendor, mode: str
) -> None:
    """A missing result is requested until the deadline, then billed."""
    provider.behave(mode)

    failure = await failure_of(vendor, served, seconds=0.2)

    assert isinstance(failure, BadImage)
    assert failure.end is CallEnd.BILLED
    assert len(provider.fetches) > 1
    assert provider.count(PROMPT) == 1


@every_vendor
async def test_twenty_paintings_keep_to_the_limit(
    served: Served, provider: FakeProvider, vendor: Vendor
) -> None:
    """Twenty paintings never exceed the model's concurrency."""
    provider.behave("hold")
    models = vendor.models(served, concurrency=5, queue=20)
    deadline = asyncio.get_running_loop().time() + 30
    prompts = [f"{PROMPT}, take {number}" for number in range(20)]
    paintings = [
        asyncio.create_task(
            models.paint(
                "default",
                Commission(
                    request=replace(LIGHTHOUSE, prompt=prompt), deadline=deadline
                ),
            )
        )
        for prompt in prompts
    ]
    await provider.until_held(5)
    await asyncio.sleep(0.05)
    assert len(provider.calls) == 5

    provider.behave("ok")
    provider.release()
    marks = [
        pictures.mark_of(painting.image.data)[0]
        for painting in await asyncio.gather(*paintings)
    ]

    numbers = {call.prompt: call.number for call in provider.calls}
    assert marks == [numbers[prompt] for prompt in prompts]
    assert len(provider.calls) == 20
