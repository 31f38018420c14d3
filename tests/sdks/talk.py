"""The vendors' own clients at the fake provider; one line of JSON.

It runs in an environment of its own (`requirements.lock`), with the fake provider's
origin as its argument, and knows nothing of the service.
"""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
import sys
from typing import Any

PROMPT = "a lighthouse in a storm"
REFERENCE = b"\x89PNG\r\n\x1a\n" + b"not looked into"


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


async def gemini(origin: str) -> dict[str, Any]:
    """Use Google's client, in both versions of the API."""
    from google import genai
    from google.genai import errors, types

    said: dict[str, Any] = {}
    for version in ("v1beta", "v1"):
        client = genai.Client(
            api_key="AIza-fake",
            vertexai=False,
            http_options=types.HttpOptions(base_url=origin, api_version=version),
        )
        answer = await client.aio.models.generate_content(
            model="gemini-3.1-flash-image",
            contents=[
                types.Part.from_bytes(data=REFERENCE, mime_type="image/png"),
                PROMPT,
            ],
            config=types.GenerateContentConfig(
                response_modalities=["IMAGE"],
                seed=7,
                image_config=types.ImageConfig(aspect_ratio="16:9", image_size="2K"),
            ),
        )
        parts = answer.candidates[0].content.parts
        said[version] = _digest(
            next(part.inline_data.data for part in parts if part.inline_data)
        )
        answer = await client.aio.models.generate_content(
            model="moderation", contents=PROMPT
        )
        said["refusal"] = answer.candidates[0].finish_reason.value
        try:
            await client.aio.models.generate_content(
                model="rate_limited_in_body", contents=PROMPT
            )
        except errors.ClientError as error:
            said["rate_limit"] = [error.code, error.status]
        if version == "v1beta":
            said["model"] = (await client.aio.models.get(model="gemini-3.1")).name
        await client.aio.aclose()
    return said


async def openai(origin: str) -> dict[str, Any]:
    """Use OpenAI's client, with and without references."""
    import base64

    from openai import AsyncOpenAI, BadRequestError, RateLimitError

    said: dict[str, Any] = {}
    async with AsyncOpenAI(
        api_key="sk-fake", base_url=f"{origin}/v1", max_retries=0
    ) as client:
        answer = await client.images.generate(
            model="gpt-image-2", prompt=PROMPT, size="1024x1024", quality="low"
        )
        said["generate"] = _digest(base64.b64decode(answer.data[0].b64_json))
        answer = await client.images.edit(
            model="gpt-image-2",
            prompt=PROMPT,
            image=[("1.png", io.BytesIO(REFERENCE)), ("2.png", io.BytesIO(REFERENCE))],
        )
        said["edit"] = _digest(base64.b64decode(answer.data[0].b64_json))
        try:
            await client.images.generate(model="fake/moderation", prompt=PROMPT)
        except BadRequestError as error:
            said["refusal"] = error.code
        try:
            await client.images.generate(model="fake/quota", prompt=PROMPT)
        except RateLimitError as error:
            said["quota"] = error.code
        said["model"] = (await client.models.retrieve("gpt-image-2")).id
    return said


async def replicate(origin: str) -> dict[str, Any]:
    """Use Replicate's client, and read progress from the logs."""
    import httpx
    from replicate import Client
    from replicate.exceptions import ModelError

    said: dict[str, Any] = {}
    client = Client(api_token="r8_fake", base_url=origin)
    client.poll_interval = 0.01
    output = await client.async_run(
        "black-forest-labs/flux-schnell", input={"prompt": PROMPT}
    )
    async with httpx.AsyncClient() as web:
        said["run"] = _digest((await web.get(output[0])).content)
    try:
        await client.async_run("fake/moderation", input={"prompt": PROMPT})
    except ModelError as error:
        said["refusal"] = error.prediction.error
    prediction = await client.predictions.async_create(
        version="0" * 64, input={"prompt": PROMPT}
    )
    await prediction.async_reload()
    said["progress"] = prediction.progress.percentage
    await prediction.async_cancel()
    said["cancelled"] = prediction.id
    return said


async def fal(origin: str) -> dict[str, Any]:
    """Use fal's client; it knows no other host, so that is patched."""
    import fal_client
    import httpx
    from fal_client import client as module

    module.QUEUE_URL_FORMAT = f"{origin}/fal/"
    said: dict[str, Any] = {}
    client = fal_client.AsyncClient(key="key:secret")
    seen = []
    output = await client.subscribe(
        "fal-ai/flux/dev",
        {"prompt": PROMPT},
        with_logs=True,
        on_queue_update=lambda status: seen.append(type(status).__name__),
    )
    async with httpx.AsyncClient() as web:
        picture = await web.get(output["images"][0]["url"])
    said["subscribe"] = _digest(picture.content)
    said["statuses"] = sorted(set(seen))
    try:
        await client.subscribe("fake/moderation", {"prompt": PROMPT})
    except fal_client.FalClientHTTPError as error:
        detail = json.loads(error.response.content)["detail"][0]
        said["refusal"] = [error.status_code, detail["type"]]
    handle = await client.submit("fal-ai/flux/dev", {"prompt": PROMPT})
    await handle.cancel()
    said["cancelled"] = handle.request_id
    return said


async def main(origin: str) -> None:
    """Run each client."""
    said = {
        talk.__name__: await talk(origin) for talk in (gemini, openai, replicate, fal)
    }
    print(json.dumps(said))  # noqa: T201 - what the test reads


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
