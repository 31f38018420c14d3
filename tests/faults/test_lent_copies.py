"""Copies that a provider was lent by a replica that is killed."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import aiohttp
import redis

from app.storage.redis import keys
from tests.fake_provider import FakeProvider, pictures, serve
from tests.models_of_replicas import replica_with

if TYPE_CHECKING:
    from pathlib import Path

    from tests.servers import S3Server

KNOWN_AS = "https://lend.example.com"
DEADLINE_SECONDS, LEASE_SECONDS = 5.0, 2.0
MODELS = """
[models.default]
provider = "fal"
model = "fal-ai/nano-banana/edit"
base_url = "{origin}/fal"
api_key_env = ""
deadline_seconds = 5.0
"""


async def test_a_copy_is_gone_with_the_calls_deadline_and_two_leases(
    redis_url: str, s3_server: S3Server, tmp_path: Path
) -> None:
    """A lent copy expires in Redis by itself after the deadline and two leases."""
    provider = FakeProvider()
    provider.behave("hold")
    async with (
        serve(provider) as origin,
        aiohttp.ClientSession() as session,
        replica_with(
            MODELS.format(origin=origin),
            folder=tmp_path,
            redis_url=redis_url,
            store=s3_server,
            PUBLIC_BASE_URL=KNOWN_AS,
            IMAGE_URL_THRESHOLD_BYTES="0",
            LEASE_SECONDS=f"{LEASE_SECONDS}",
        ) as doomed,
    ):
        async with session.post(
            f"{doomed.url}/api/images",
            data=pictures.paint(number=1, prompt="a sketch"),
            headers={"Content-Type": "image/png"},
        ) as kept:
            image_id = (await kept.json())["id"]
        body = {"prompt": "a harbour", "references": [image_id]}
        asking = asyncio.create_task(
            session.post(f"{doomed.url}/api/v1/live/generate", json=body)
        )
        await provider.until_held()
        await doomed.kill()
        await asyncio.wait([asking])

    (job,) = provider.jobs.values()
    (address,) = job.call.body["image_urls"]
    name = address.removeprefix(f"{KNOWN_AS}/api/images/").partition(".")[0]
    with redis.Redis.from_url(redis_url) as client:
        left_ms = client.pttl(keys.transient_bytes(name))
        stays_ms = client.pttl(keys.transient_bytes(image_id))

    assert asking.exception() is not None
    assert 0 < left_ms <= 1000 * (DEADLINE_SECONDS + 2 * LEASE_SECONDS)
    assert stays_ms == -1
