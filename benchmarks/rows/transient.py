"""Rows 4 and 5: transient pictures against bare handlers on the same Redis."""

from __future__ import annotations

from contextlib import AsyncExitStack
from functools import partial
from typing import TYPE_CHECKING

import aiohttp
from redis.asyncio import Redis
from yarl import URL

from benchmarks.figures import Line, alternate, rates, ratios
from benchmarks.load import Load
from benchmarks.stage import HEADERS, PICTURE_BYTES
from tests.fake_provider.pictures import paint

if TYPE_CHECKING:
    from benchmarks.stage import Stage

GET = "bare handler, one redis-py GET"
SET = "bare handler, one redis-py SET"
UPLOAD_BYTES = 1024 * 1024
# Whatever is uploaded in a round stays until its end.
LONGEST_UPLOADING_SECONDS = 3.0
ROOM = {"TRANSIENT_QUOTA_BYTES": str(1 << 40)}


async def transient_get(stage: Stage) -> list[Line]:
    """Row 4: a GET of 64 KB."""
    data = paint(number=1, prompt="a lantern", at_least_bytes=PICTURE_BYTES)
    async with AsyncExitStack() as stack:
        services = await stack.enter_async_context(stage.services(**ROOM))
        loads = {}
        for name, service in services.items():
            target, headers = await _uploaded(service.url, data)
            loads[name] = Load(service.url, (target,))
        bare = stage.bare("redis_get", data=data, key="bare:get", headers=headers)
        origin = await stack.enter_async_context(bare)
        loads[GET] = Load(origin, (target,))
        figures = await rates(stage, loads)
    return ratios("4", "transient GET, 64 KB", figures, goals={GET: 1.0})


async def transient_upload(stage: Stage) -> list[Line]:
    """Row 5: an upload of 1 MB."""
    data = paint(number=1, prompt="a lantern", at_least_bytes=UPLOAD_BYTES)
    asked = {**HEADERS, "Content-Type": "image/png"}
    async with AsyncExitStack() as stack:
        services = await stack.enter_async_context(stage.services(**ROOM))
        origins = {name: service.url for name, service in services.items()}
        bare = stage.bare("redis_set", headers={})
        origins[SET] = await stack.enter_async_context(bare)
        loads = {
            name: Load(origin, ("/api/images",), asked, "POST", data)
            for name, origin in origins.items()
        }
        figures = await alternate(
            {name: partial(_uploading, stage, load) for name, load in loads.items()},
            rounds=stage.rounds,
            seconds=min(LONGEST_UPLOADING_SECONDS, stage.seconds),
        )
    return ratios("5", "transient upload, 1 MB", figures, goals={SET: 0.8})


async def _uploading(stage: Stage, load: Load, seconds: float) -> float:
    async with Redis.from_url(stage.redis.url) as redis:
        await redis.flushall()
        try:
            return await load.run(seconds)
        finally:
            await redis.flushall()


async def _uploaded(origin: str, data: bytes) -> tuple[str, dict[str, str]]:
    """Upload *data*; return its target and the headers that it is answered with."""
    async with aiohttp.ClientSession() as session:
        headers = {**HEADERS, "Content-Type": "image/png"}
        async with session.post(
            f"{origin}/api/images", data=data, headers=headers
        ) as answer:
            target = URL((await answer.json())["url"]).path
        async with session.get(f"{origin}{target}") as answer:
            own = {"Date", "Content-Length", "Server"}
            said = {k: v for k, v in answer.headers.items() if k not in own}
    return target, said
