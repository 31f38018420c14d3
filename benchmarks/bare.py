"""Bare handlers: the framework's best case, and a first attempt.

`python -m benchmarks.bare OPTIONS.json` serves one of `KINDS` on a free port, which it
prints. No access log, no middleware, nothing counted.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sys
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiohttp
import uvloop
from aiobotocore.config import AioConfig
from aiobotocore.session import get_session
from aiohttp import web
from redis.asyncio import Redis
from yarl import URL

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

CHUNK_BYTES = 131_072
MAX_CONNECTIONS = 64


async def in_memory(options: dict[str, Any], _: AsyncExitStack) -> Handler:
    """Answer with the same bytes and as many headers as the service."""
    data, headers = options["data"], options["headers"]

    async def handler(_request: web.Request) -> web.Response:
        return web.Response(body=data, headers=headers)

    return handler


async def not_modified(options: dict[str, Any], _: AsyncExitStack) -> Handler:
    """Answer 304 with as many headers as the service."""
    headers = options["headers"]

    async def handler(_request: web.Request) -> web.Response:
        return web.Response(status=304, headers=headers)

    return handler


async def signed_url(options: dict[str, Any], stack: AsyncExitStack) -> Handler:
    """Stream one object from one URL that was signed once."""
    url, headers = await sign(options["bucket"], options["key"]), options["headers"]
    http = await stack.enter_async_context(
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))
    )

    async def handler(request: web.Request) -> web.StreamResponse:
        async with http.get(url) as source:
            response = web.StreamResponse(headers=headers)
            response.content_length = source.content_length
            await response.prepare(request)
            async for chunk in source.content.iter_any():
                await response.write(chunk)
            return response

    return handler


async def get_object(options: dict[str, Any], stack: AsyncExitStack) -> Handler:
    """Call botocore for every request."""
    client, headers = await _s3(stack), options["headers"]
    bucket, key = options["bucket"], options["key"]

    async def handler(request: web.Request) -> web.StreamResponse:
        answer = await client.get_object(Bucket=bucket, Key=key)
        response = web.StreamResponse(headers=headers)
        response.content_length = answer["ContentLength"]
        await response.prepare(request)
        async with answer["Body"] as body:
            async for chunk in body.iter_chunks(CHUNK_BYTES):
                await response.write(chunk)
        return response

    return handler


async def redis_get(options: dict[str, Any], stack: AsyncExitStack) -> Handler:
    """Answer with the result of one GET of redis-py."""
    redis, key, headers = _redis(stack), options["key"], options["headers"]
    await redis.set(key, options["data"])

    async def handler(_request: web.Request) -> web.Response:
        return web.Response(body=await redis.get(key), headers=headers)

    return handler


async def redis_set(options: dict[str, Any], stack: AsyncExitStack) -> Handler:
    """Read the body and write it by one SET of redis-py, under a key of its own."""
    redis, headers = _redis(stack), options["headers"]
    numbers = iter(range(sys.maxsize))

    async def handler(request: web.Request) -> web.Response:
        await redis.set(f"bare:{next(numbers)}", await request.read())
        return web.json_response({}, status=201, headers=headers)

    return handler


KINDS = {
    made.__name__: made
    for made in (in_memory, not_modified, signed_url, get_object, redis_get, redis_set)
}


async def sign(bucket: str, key: str) -> URL:
    """Return a signed URL that anyone may GET."""
    parameters = {"Bucket": bucket, "Key": key}
    async with AsyncExitStack() as stack:
        client = await _s3(stack)
        signed = await client.generate_presigned_url("get_object", Params=parameters)
    return URL(signed, encoded=True)


async def _s3(stack: AsyncExitStack) -> Any:
    config = AioConfig(
        signature_version="s3v4",
        s3={"addressing_style": "path"},
        max_pool_connections=MAX_CONNECTIONS,
    )
    opening = get_session().create_client("s3", region_name="us-east-1", config=config)
    return await stack.enter_async_context(opening)


def _redis(stack: AsyncExitStack) -> Redis:
    redis: Redis = Redis.from_url(os.environ["REDIS_URL"])
    stack.push_async_callback(redis.aclose)
    return redis


async def main(options: dict[str, Any]) -> None:
    """Serve until a signal."""
    # The load disconnects in the middle of its last answers.
    logging.disable(logging.ERROR)
    async with AsyncExitStack() as stack:
        app = web.Application(client_max_size=64 * 1024 * 1024)
        handler = await KINDS[options["kind"]](options, stack)
        app.router.add_route("*", "/{path:.*}", handler)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        print(json.dumps({"port": runner.addresses[0][1]}), flush=True)
        await asyncio.Event().wait()


def _options(path: Path) -> dict[str, Any]:
    options: dict[str, Any] = json.loads(path.read_text())
    if "body" in options:
        options["data"] = Path(options["body"]).read_bytes()
    return options


if __name__ == "__main__":
    uvloop.run(main(_options(Path(sys.argv[1]))))
