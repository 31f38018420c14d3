"""The client against a real replica."""

from __future__ import annotations

import asyncio
import time
from hashlib import sha256
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

import aiohttp
import pytest

from app.client import Paintonce, PaintonceError, Parameters, Picture
from app.signing import LIVE_PATH, canonical, is_signature

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.replica import Replica

pytestmark = pytest.mark.asyncio(loop_scope="module")

PIXEL = "data:image/gif;base64,R0lGODlhAQABAAAAACH5BAEKAAEALAAAAAABAAEAAAICTAEAOw=="


async def test_a_picture_is_a_miss_and_then_a_counted_hit(
    paintonce: Paintonce, service: Replica
) -> None:
    """The first call is a MISS, the second a counted HIT of the same picture."""
    painted = await paintonce.generate("a barn owl", aspect_ratio="16:9", seed=0)
    again = await paintonce.generate("a barn owl", seed=0, aspect_ratio="16:9")

    assert (painted.prompt, painted.content_type) == ("a barn owl", "image/png")
    assert (painted.status, painted.hits) == ("MISS", None)
    assert (again.status, again.hits) == ("HIT", 1)
    assert (painted.data, painted.image_id) == (again.data, again.image_id)
    assert painted.model == "default"
    entry = await paintonce.entry(painted.prompt_hash)
    assert (entry["prompt"], entry["parameters"]["seed"]) == ("a barn owl", 0)
    assert entry["price"] == 0.1
    async with (
        aiohttp.ClientSession(service.url) as session,
        session.get(painted.permalink) as answer,
    ):
        assert await answer.read() == painted.data


@pytest.mark.parametrize(
    "prompt", ['Zürich & 100% "snow" + 雪', "a=b;c?d#e/f", "two\nlines", "é" * 4000]
)
async def test_any_prompt_arrives_as_it_is(paintonce: Paintonce, prompt: str) -> None:
    """A prompt with special characters or of any length arrives unchanged."""
    picture = await paintonce.generate(prompt)

    assert (await paintonce.entry(picture.prompt_hash))["prompt"] == prompt
    assert picture.prompt == prompt


async def test_references_are_sent(paintonce: Paintonce) -> None:
    """References change the prompt, and `is_painted` refuses them."""
    async with paintonce.lend(PIXEL) as lent:
        plain = await paintonce.generate("an elk")
        guided = await paintonce.generate("an elk", references=[lent.id])

        assert guided.prompt_hash != plain.prompt_hash
        with pytest.raises(ValueError, match="references"):
            await paintonce.is_painted("an elk", references=[lent.id])


async def test_asking_whether_it_is_painted_never_pays(paintonce: Paintonce) -> None:
    """`is_painted` never paints, and counts as a hit of a painted prompt."""
    assert not await paintonce.is_painted("a grey seal")

    await paintonce.generate("a grey seal")

    assert await paintonce.is_painted("a grey seal")
    assert not await paintonce.is_painted("a grey seal", variant=1)
    assert (await paintonce.generate("a grey seal")).hits == 2


async def test_a_refusal_is_an_error_with_the_problems_words(
    paintonce: Paintonce,
) -> None:
    """An error has the problem's status, code, detail and request id, and a prompt."""
    with pytest.raises(PaintonceError) as refused:
        await paintonce.generate("a storm", model="refuses")

    error = refused.value
    assert (error.status, error.code) == (422, "prompt_rejected")
    assert error.detail
    assert error.request_id
    assert error.prompt == "a storm"
    assert "prompt_rejected (422)" in str(error)


async def test_many_come_in_the_order_of_completion(paintonce: Paintonce) -> None:
    """`generate_many` yields pictures and errors in the order of completion."""
    slow: Parameters = {"model": "slow"}
    refused: Parameters = {"model": "refuses"}

    ready = [
        outcome
        async for outcome in paintonce.generate_many(
            [("a slow fox", slow), "a red fox", ("a bad fox", refused)], concurrency=2
        )
    ]

    assert [outcome.prompt for outcome in ready] == [
        *("a red fox", "a bad fox", "a slow fox")
    ]
    assert [type(outcome) for outcome in ready] == [Picture, PaintonceError, Picture]


async def test_many_are_drawn_as_they_are_needed(paintonce: Paintonce) -> None:
    """`generate_many` takes no more prompts than its concurrency allows."""
    drawn = []

    def prompts() -> Iterator[str]:
        for number in range(10):
            drawn.append(number)
            yield f"fox {number}"

    taken = 0
    async for _ in paintonce.generate_many(prompts(), concurrency=3):
        taken += 1
        assert len(drawn) <= taken + 3

    assert taken == 10


async def test_leaving_many_early_cancels_the_rest(
    service: Replica, project: str
) -> None:
    """Leaving `generate_many` early cancels its running requests."""
    before = asyncio.all_tasks()
    async with Paintonce(service.url, project=project) as client:
        many = client.generate_many(["a hare", ("a snail", {"model": "slower"})])
        first = await anext(many)
        assert first.prompt == "a hare"
    assert asyncio.all_tasks() == before
    await many.aclose()

    with pytest.raises(ValueError, match="concurrency"):
        await anext(client.generate_many(["a hare"], concurrency=0))


async def test_a_purge_and_a_refresh_are_asked_by_hash(paintonce: Paintonce) -> None:
    """A refresh gives another picture of the same hash, and a purge removes it."""
    painted = await paintonce.generate("a tea house on the moon")

    entry = await paintonce.refresh(painted.prompt_hash)
    assert entry["image_id"] != painted.image_id
    assert entry["prompt_hash"] == painted.prompt_hash

    assert await paintonce.purge(painted.prompt_hash)
    assert not await paintonce.is_painted("a tea house on the moon")
    with pytest.raises(PaintonceError) as gone:
        await paintonce.purge(painted.prompt_hash)
    assert (gone.value.status, gone.value.code) == (404, "not_found")


async def test_entries_are_those_of_all_pages(
    paintonce: Paintonce, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`entries` yields every entry of all pages once, in the given order."""
    monkeypatch.setattr("app.client.ENTRIES_AT_ONCE", 2)
    prompts = [f"lighthouse {number}" for number in range(5)]
    async for outcome in paintonce.generate_many(prompts):
        assert isinstance(outcome, Picture)
    assert (await paintonce.generate("lighthouse 3")).hits == 1
    deadline = time.monotonic() + 5
    while (await paintonce.stats())["hits"] < 1:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.05)

    by_hits = [entry["prompt"] async for entry in paintonce.entries("hits")]

    assert sorted(by_hits) == prompts
    assert by_hits[0] == "lighthouse 3"
    assert len([entry async for entry in paintonce.entries()]) == 5


async def test_statistics_are_the_projects_own(
    paintonce: Paintonce, project: str
) -> None:
    """Statistics name the project and its own spend."""
    await paintonce.generate("an oyster", model="dear")
    deadline = time.monotonic() + 5
    while (statistics := await paintonce.stats())["misses"] < 1:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.05)

    assert (statistics["project"], statistics["spend"]) == (project, 2.5)


@pytest.mark.parametrize("ttl", [None, 60])
async def test_a_picture_is_lent_and_taken_back(
    paintonce: Paintonce, service: Replica, ttl: int | None
) -> None:
    """A lent picture is served within the context and 404 after it."""
    data = (await paintonce.generate("a lent owl")).data

    async with aiohttp.ClientSession() as session:
        async with paintonce.lend(data, ttl) as lent:
            address = f"{service.url}{urlsplit(lent.url).path}"
            async with session.get(address) as answer:
                assert await answer.read() == data
            assert lent.reachable is False
        async with session.get(address) as answer:
            assert answer.status == 404


async def test_a_picture_is_taken_back_after_an_error(
    paintonce: Paintonce, service: Replica
) -> None:
    """A lent picture is deleted if the context ends with an error."""
    with pytest.raises(RuntimeError, match="no painter"):
        async with paintonce.lend(PIXEL) as lent:
            raise RuntimeError("no painter")

    async with (
        aiohttp.ClientSession(service.url) as session,
        session.get(f"/api/images/{lent.id}") as answer,
    ):
        assert answer.status == 404


async def test_signing_makes_no_request() -> None:
    """A URL is signed without a request and verifies."""
    client = Paintonce("https://pictures.example/", project="acme/shop")

    url = urlsplit(client.sign("a red fox", kid="k1", secret="s" * 43, exp=9, seed=3))

    given = {name: value for name, (value,) in parse_qs(url.query).items()}
    assert url.netloc == "pictures.example"
    assert (given["project"], given["seed"]) == ("acme/shop", "3")
    text = canonical("GET", LIVE_PATH, given)
    assert is_signature(given["sig"], "s" * 43, text)
    with pytest.raises(ValueError, match="project"):
        Paintonce("https://pictures.example").sign("x", kid="k", secret="s", exp=9)


@pytest.mark.parametrize("url", ["", "pictures.example", "ftp://a.b", "http://a?b"])
async def test_a_malformed_address_is_refused_at_once(url: str) -> None:
    """A malformed service address raises when the client is made."""
    with pytest.raises(ValueError, match="url"):
        Paintonce(url)


async def test_the_digest_is_that_of_the_tag(
    paintonce: Paintonce, service: Replica, project: str
) -> None:
    """The ETag is the SHA-256 of the bytes, which the client compares."""
    picture = await paintonce.generate("a checked owl")

    async with (
        aiohttp.ClientSession(service.url) as session,
        session.get(
            LIVE_PATH, params={"prompt": "a checked owl", "project": project}
        ) as answer,
    ):
        assert answer.headers["ETag"] == f'"{sha256(picture.data).hexdigest()}"'
