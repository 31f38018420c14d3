"""Row 3b: the alternatives nginx and Node."""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

from benchmarks.figures import Line, missing, rates, ratios
from benchmarks.load import Load
from benchmarks.peers.express import express
from benchmarks.peers.nginx import nginx
from benchmarks.stage import HEADERS

if TYPE_CHECKING:
    from benchmarks.stage import Stage

WHAT = "HIT from the hot tier"
NODE = "Node/Express, ioredis pipeline, bytes in memory"
NGINX = "nginx proxy_cache in front of MinIO (counts nothing)"


async def nginx_and_node(stage: Stage) -> list[Line]:
    """Row 3b: the hot tier against both; nginx is informative only."""
    async with AsyncExitStack() as stack:
        services = await stack.enter_async_context(stage.services())
        loads = {}
        for name, service in services.items():
            picture = await stage.paint(service, "a lighthouse at noon")
            loads[name] = Load(service.url, (picture.target,), HEADERS)
        peers = {
            NODE: await stack.enter_async_context(
                express(stage, picture, in_memory=True)
            ),
            NGINX: await stack.enter_async_context(nginx(stage, picture)),
        }
        for name, origin in peers.items():
            if origin is not None:
                loads[name] = Load(origin, (picture.target,), HEADERS)
        figures = await rates(stage, loads)
    absent = [missing("3b", WHAT, name) for name, origin in peers.items() if not origin]
    return ratios("3b", WHAT, figures, goals={NODE: 2.5}) + absent
