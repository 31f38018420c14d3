"""Row 9: a million entries in Redis."""

from __future__ import annotations

import random
from contextlib import AsyncExitStack
from functools import partial
from typing import TYPE_CHECKING

from redis.asyncio import Redis

from app.storage.storage_key import Project
from benchmarks.figures import Line, alternate, single
from benchmarks.load import Load
from benchmarks.rows.hot import median_ms
from benchmarks.seeds import Seed, write_entries
from benchmarks.stage import HEADERS, PROJECT
from tests.servers import redis_server

if TYPE_CHECKING:
    from benchmarks.stage import Stage

FEW, MANY = 1000, 1_000_000
# As many of the many are asked for, chosen at random.
ASKED = 20_000
# The answer is a 304 after the whole look-up, and no bytes are read.
CONDITIONAL = {**HEADERS, "If-None-Match": "*"}


async def million_entries(stage: Stage) -> list[Line]:
    """Row 9: the time of a look-up, and the memory of an entry."""
    few, many = (100, 2000) if stage.tiny else (FEW, MANY)
    bytes_each = 0.0
    async with AsyncExitStack() as stack:
        loads: dict[tuple[int, str], Load] = {}
        for count in (few, many):
            server = stack.enter_context(redis_server(stage.new_folder()))
            seeds = [Seed(Project.parse(PROJECT), number) for number in range(count)]
            async with Redis.from_url(server.url) as redis:
                bytes_each = await _bytes_each(redis, seeds)
            picked = random.sample(seeds, min(ASKED, count))
            for source in stage.sources:
                running = stage.service(source, settings={"REDIS_URL": server.url})
                service = await stack.enter_async_context(running)
                targets = tuple(seed.target for seed in picked)
                loads[count, source.label] = Load(service.url, targets, CONDITIONAL)
        figures = await alternate(
            {name: load.run for name, load in loads.items()},
            rounds=stage.rounds,
            seconds=stage.seconds,
        )
        alone = await alternate(
            {name: partial(median_ms, load) for name, load in loads.items()},
            rounds=stage.rounds,
            seconds=min(1.0, stage.seconds),
        )
    lines = [
        single(
            "9",
            "Redis memory for an entry, everything counted",
            [bytes_each],
            unit="bytes",
            at_most=700.0,
        )
    ]
    for source in stage.sources:
        small, large = (few, source.label), (many, source.label)
        what = f"look-up among {many:,} entries against {few:,}"
        lines += [
            single(
                "9",
                f"{what}, under load",
                [a / b for a, b in zip(figures[small], figures[large], strict=True)],
                unit="ratio",
                at_most=1.1,
                note=source.label,
            ),
            single(
                "9",
                f"{what}, one at a time",
                [b / a for a, b in zip(alone[small], alone[large], strict=True)],
                unit="ratio",
                at_most=1.1,
                note=source.label,
            ),
        ]
    return lines


async def _bytes_each(redis: Redis, seeds: list[Seed]) -> float:
    before = (await redis.info("memory"))["used_memory"]
    await write_entries(redis, seeds)
    after = (await redis.info("memory"))["used_memory"]
    return float(after - before) / len(seeds)
