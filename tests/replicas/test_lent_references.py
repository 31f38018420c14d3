"""Providers fetch lent references, in every way in which they do."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
import pytest_asyncio

from tests.fake_provider import FakeProvider, pictures, serve
from tests.models_of_replicas import replica_with

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.replica import Replica
    from tests.servers import S3Server

LIVE = "/api/v1/live/generate"
KNOWN_AS = "https://lend.example.com"
LARGE = pictures.paint(number=1, prompt="a sketch", at_least_bytes=5000)
SMALL = pictures.paint(number=2, prompt="a stamp")

MODELS = """
[models.replicate]
provider = "replicate"
model = "google/nano-banana"
base_url = "{origin}/v1"
api_key_env = ""
[models.hurried]
provider = "replicate"
model = "google/nano-banana"
base_url = "{origin}/v1"
api_key_env = ""
deadline_seconds = 3
[models.fal]
provider = "fal"
model = "fal-ai/nano-banana/edit"
base_url = "{origin}/fal"
api_key_env = ""
"""


pytestmark = pytest.mark.asyncio(loop_scope="module")


@dataclass
class Place:
    """A replica that providers reach under another name, and a provider."""

    service: Replica
    provider: FakeProvider
    session: aiohttp.ClientSession


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running(
    module_redis_url: str,
    s3_server: S3Server,
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[Place]:
    """Run replica and provider for all tests here."""
    folder, provider = tmp_path_factory.mktemp("lent"), FakeProvider()
    async with (
        serve(provider) as origin,
        aiohttp.ClientSession() as session,
        replica_with(
            MODELS.format(origin=origin),
            folder=folder,
            redis_url=module_redis_url,
            store=s3_server,
            PUBLIC_BASE_URL=KNOWN_AS,
            IMAGE_URL_THRESHOLD_BYTES="4000",
        ) as service,
    ):
        yield Place(service, provider, session)


@pytest_asyncio.fixture(loop_scope="module")
async def place(running: Place) -> AsyncIterator[Place]:
    """Give replica and provider, with a reset provider."""
    running.provider.reset()
    yield running


async def lent(session: aiohttp.ClientSession, at: Replica, data: bytes) -> str:
    """Upload a picture; return its id."""
    headers = {"Content-Type": "image/png"}
    async with session.post(
        f"{at.url}/api/images", data=data, headers=headers
    ) as answer:
        image_id: str = (await answer.json())["id"]
        return image_id


async def status_of(session: aiohttp.ClientSession, url: str) -> int:
    """Return the status of a GET of *url*."""
    async with session.get(url) as answer:
        return answer.status


@pytest.mark.parametrize("model", ["replicate", "fal"])
async def test_a_reference_is_there_until_its_job_is_over(
    place: Place, model: str
) -> None:
    """A lent copy is readable until its job ends, in every way of fetching.

    The caller deletes its own picture meanwhile, which changes nothing. A small picture
    is sent inline. The job's copies are in no project's list.
    """
    service, provider, session = place.service, place.provider, place.session
    provider.behave(
        "hold",
        polls=3,
        fetches=("", "opened whole", "head range whole"),
        references_from=KNOWN_AS,
        references_at=service.url,
    )
    ids = [await lent(session, service, data) for data in (LARGE, SMALL)]
    body: Any = {"prompt": "a harbour", "model": model, "references": ids}
    painting = asyncio.create_task(session.post(service.url + LIVE, json=body))
    await provider.until_held()
    for image_id in ids:
        await session.delete(f"{service.url}/api/images/{image_id}")
    provider.release()
    answer = await painting

    assert answer.status == 200, await answer.text()
    (job,) = provider.jobs.values()
    sent = job.call.body.get("input", job.call.body)
    field = "image_input" if model == "replicate" else "image_urls"
    address, inline = sent[field]
    assert address.startswith(f"{KNOWN_AS}/api/images/")
    assert address.endswith(".png")
    assert not any(image_id in address for image_id in ids)
    assert inline.startswith("data:image/png;base64,")
    whole = str(len(LARGE))
    assert [
        (seen["way"], seen["status"], seen["length"], seen["bytes"])
        for seen in job.fetched
    ] == [
        ("opened", 200, whole, 0),
        ("whole", 200, whole, len(LARGE)),
        ("head", 200, whole, 0),
        ("range", 206, "100", 100),
        ("whole", 200, whole, len(LARGE)),
    ]
    assert await status_of(session, address.replace(KNOWN_AS, service.url)) == 404
    async with session.get(f"{service.url}/api/images") as listed:
        ids = [image["id"] for image in (await listed.json())["images"]]
        assert not any(image_id in address for image_id in ids)


@pytest.mark.parametrize(
    ("mode", "model", "status"),
    [
        ("failed", "replicate", 502),
        ("moderation", "replicate", 422),
        # A result that is missing may only be late: it is gone at the deadline.
        pytest.param("url_missing", "hurried", 502, marks=pytest.mark.long),
    ],
)
async def test_a_copy_ends_with_a_job_that_fails_but_the_callers_own_stays(
    place: Place, mode: str, model: str, status: int
) -> None:
    """A failed job's copy is removed, and the caller's upload stays."""
    service, provider, session = place.service, place.provider, place.session
    provider.behave(mode)
    image_id = await lent(session, service, LARGE)
    body: Any = {
        "prompt": f"a pier, {mode}",
        "model": model,
        "references": [image_id],
    }
    answer = await session.post(service.url + LIVE, json=body)

    assert answer.status == status, await answer.text()
    (call,) = provider.calls
    address = call.body["input"]["image_input"][0].replace(KNOWN_AS, service.url)
    assert await status_of(session, address) == 404
    assert await status_of(session, f"{service.url}/api/images/{image_id}") == 200
