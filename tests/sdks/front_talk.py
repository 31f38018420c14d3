"""OpenAI's own Python client at the service; its results are one line of JSON.

It runs in an environment of its own (`requirements.lock`) and knows only the service's
address. The first argument names the function to run.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import io
import json
import sys
from typing import Any

from openai import APIError, AsyncOpenAI

PROMPT = "a lighthouse in a storm"


def _digest(text: str) -> str:
    return hashlib.sha256(base64.b64decode(text)).hexdigest()


def _client(origin: str, **options: Any) -> AsyncOpenAI:
    return AsyncOpenAI(api_key="sk-any", base_url=f"{origin}/v1", **options)


async def talk(first: str, second: str) -> dict[str, Any]:
    """Generate, edit, stream, list, and cause errors."""
    said: dict[str, Any] = {}
    client = _client(first)
    painted = await client.images.generate(prompt=PROMPT)
    said["generate"] = _digest(painted.data[0].b64_json)
    said["usage"] = painted.usage.total_tokens
    again = await _client(second).images.generate(prompt=PROMPT)
    said["again"] = [_digest(again.data[0].b64_json), again.data[0].cache_status]
    three = await client.images.generate(prompt=PROMPT, n=3, size="auto")
    said["n"] = len({one.image_id for one in three.data})
    picture = base64.b64decode(painted.data[0].b64_json)
    edited = await client.images.edit(
        prompt="with a hat", image=("one.png", io.BytesIO(picture))
    )
    said["edit"] = _digest(edited.data[0].b64_json)
    both = await client.images.edit(
        prompt="with a hat",
        image=[("1.png", io.BytesIO(picture)), ("2.png", io.BytesIO(picture))],
    )
    said["edit_of_two"] = _digest(both.data[0].b64_json)
    stream = await client.images.generate(prompt="a fox", stream=True)
    async for event in stream:
        said["stream"] = [event.type, _digest(event.b64_json)]
    said["models"] = [model.id async for model in client.models.list()]
    said["model"] = (await client.models.retrieve("gpt-image-1")).id
    said["errors"] = [
        await _error(client, **asked)
        for asked in (
            {"prompt": "refused"},
            {"prompt": PROMPT, "model": "no-such-model"},
            {"prompt": PROMPT, "size": "9x9"},
        )
    ]
    return said


async def _error(client: AsyncOpenAI, **asked: Any) -> list[Any]:
    """Return class, status, code and parameter of an error that has a message."""
    try:
        await client.images.generate(**asked)
    except APIError as error:
        is_complete = bool(error.request_id) and len(error.message) > len("Error code")
        said = [type(error).__name__, error.status_code, error.code, error.param]
        return said if is_complete else [*said, str(error)]
    return []


async def retry(origin: str, prompt: str) -> dict[str, Any]:
    """Send one request with the default retries."""
    client = _client(origin)
    try:
        painted = await client.images.generate(prompt=prompt)
    except APIError as error:
        return {"error": [type(error).__name__, error.status_code, error.code]}
    return {"painted": _digest(painted.data[0].b64_json)}


async def stream(origin: str, prompt: str) -> dict[str, Any]:
    """Request a stream without retries, so that a cut connection is an error."""
    client = _client(origin, max_retries=0)
    async for event in await client.images.generate(prompt=prompt, stream=True):
        return {"painted": [event.type, _digest(event.b64_json)]}
    return {}


async def herd(first: str, second: str, prompt: str, count: str) -> list[str]:
    """Request the same picture many times at once, over two replicas."""
    clients = (_client(first), _client(second))

    async def asked(number: int) -> str:
        painted = await clients[number % 2].images.generate(prompt=prompt)
        return _digest(painted.data[0].b64_json)

    return list(await asyncio.gather(*map(asked, range(int(count)))))


if __name__ == "__main__":
    what, *arguments = sys.argv[1:]
    talks: dict[str, Any] = {
        "talk": talk,
        "retry": retry,
        "stream": stream,
        "herd": herd,
    }
    print(json.dumps(asyncio.run(talks[what](*arguments))))  # noqa: T201 - what the test reads
