"""Row 2: a HIT whose bytes come from the object store every time."""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

from app.storage.storage_key import Project
from benchmarks.figures import Line, rates, ratios
from benchmarks.load import Load
from benchmarks.peers.express import express
from benchmarks.seeds import Seed, keep, picture
from benchmarks.stage import HEADERS, PROJECT

if TYPE_CHECKING:
    from benchmarks.stage import Stage

SIGNED = "bare aiohttp proxy of one signed URL"
CALLS = "aiobotocore get_object per request"
# So many that requests which meet by chance, and could share an answer of the
# store, are few; the peers stream one and the same.
PICTURES = 1000

NODE = "Node/Express, ioredis, MinIO client"
STORE = "the store itself, by one signed URL (nothing can be faster)"


def _count(stage: Stage) -> int:
    return 20 if stage.tiny else PICTURES


async def stored_hit(stage: Stage) -> list[Line]:
    """Row 2: against a stream from a signed URL, and against botocore's calls."""
    async with AsyncExitStack() as stack:
        services = await stack.enter_async_context(stage.services(HOT_TIER_BYTES="0"))
        loads = {}
        project = Project.parse(PROJECT)
        seeds = [Seed(project, number, picture()) for number in range(_count(stage))]
        await keep(stage, seeds)
        for name, service in services.items():
            painted = await stage.paint(service, "a lighthouse in the fog")
            targets = tuple(seed.target for seed in seeds)
            loads[name] = Load(service.url, targets, HEADERS)
        options = {
            "bucket": stage.bucket,
            "key": painted.key,
            "headers": painted.headers,
        }
        for name, kind in ((SIGNED, "signed_url"), (CALLS, "get_object")):
            origin = await stack.enter_async_context(stage.bare(kind, **options))
            loads[name] = Load(origin, (painted.target,), HEADERS)
        peer = await stack.enter_async_context(express(stage, painted, in_memory=False))
        if peer is not None:
            loads[NODE] = Load(peer, (painted.target,), HEADERS)
        url = await stage.sign(painted.key)
        loads[STORE] = Load(str(url.origin()), (url.raw_path_qs,))
        figures = await rates(stage, loads)
    goals = {SIGNED: 0.80, CALLS: 2.5}
    return ratios("2", "HIT from MinIO, hot tier off", figures, goals=goals)
