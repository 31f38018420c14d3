"""Identical edits over two replicas, with the Redis and the store of an operator."""

from __future__ import annotations

import asyncio
import base64
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
import redis

from app.storage.redis import keys
from tests.fake_provider import FakeProvider, pictures
from tests.models_of_replicas import replicas_over
from tests.until import until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.replica import Replica
    from tests.servers import S3Server

pytestmark = [pytest.mark.long, pytest.mark.timeout(120)]

PROMPT = "with a hat"
SENT = [pictures.paint(number=number, prompt="a sketch") for number in (1, 2)]


def as_form() -> dict[str, Any]:
    """Return the edit as a form."""
    form = aiohttp.FormData(default_to_multipart=True)
    form.add_field("prompt", PROMPT)
    for data in SENT:
        form.add_field("image[]", data, filename="sketch.png")
    return {"data": form}


def as_json() -> dict[str, Any]:
    """Return the same edit as JSON."""
    urls = [f"data:image/png;base64,{base64.b64encode(one).decode()}" for one in SENT]
    return {"json": {"prompt": PROMPT, "images": [{"image_url": url} for url in urls]}}


async def test_identical_edits_over_two_replicas_are_one_payment(
    redis_url: str, s3_server: S3Server, tmp_path: Path
) -> None:
    """Every edit gets the one picture, and no copy of what was sent is left."""
    provider = FakeProvider()
    provider.behave("hold", prompt=PROMPT)
    async with AsyncExitStack() as stack:
        replicas = await stack.enter_async_context(
            replicas_over(
                provider, 2, folder=tmp_path, redis_url=redis_url, store=s3_server
            )
        )
        session = await stack.enter_async_context(aiohttp.ClientSession())
        client = stack.enter_context(redis.Redis.from_url(redis_url))

        async def edited(at: Replica, body: dict[str, Any]) -> Any:
            async with session.post(f"{at.url}/v1/images/edits", **body) as answer:
                return answer.status, await answer.json()

        def copies() -> int:
            return len(list(client.scan_iter(keys.transient_bytes("*"))))

        asked = [
            asyncio.create_task(edited(at, body))
            for at in replicas
            for body in (as_form(), as_json(), as_form(), as_json())
        ]
        await provider.until_held()
        await until(lambda: copies() == len(replicas) * len(SENT))
        provider.release()
        answers = await asyncio.gather(*asked)
        await until(lambda: copies() == 0)
        (first, *_) = [document["data"][0] for _, document in answers]
        refreshes = []
        for at in replicas:
            path = f"/api/v1/live/entries/{first['prompt_hash']}/refresh"
            async with session.post(f"{at.url}{path}") as answer:
                refreshes.append((answer.status, (await answer.json())["code"]))

    assert [status for status, _ in answers] == [200] * len(asked)
    pictures_of = {document["data"][0]["b64_json"] for _, document in answers}
    assert pictures_of == {first["b64_json"]}
    assert provider.count(PROMPT) == 1
    assert refreshes == [(409, "references_gone")] * len(replicas)
