"""Row 9: a million entries in Redis."""

from __future__ import annotations

import random
from contextlib import AsyncExitStack
from itertools import product
from typing import TYPE_CHECKING

from redis.asyncio import Redis

from app.storage.storage_key import Project
from benchmarks.figures import Line, alternate, single
from benchmarks.load import Load, LoadFailed, one_at_a_time
from benchmarks.seeds import Seed, picture, write_entries, write_pictures
from benchmarks.stage import HEADERS, PROJECT
from tests.servers import redis_server

if TYPE_CHECKING:
    from benchmarks.stage import Stage

FEW, MANY = 1000, 1_000_000
# As many are asked for, of the few and of the many, chosen at random: what
# differs is how many entries there are. The second is what a replica's memory
# and the caches of the processors make of many prompts.
ASKED, ASKED_WIDELY = 1000, 20_000
# So small that the replica keeps all that are asked for in memory. The answer is a
# 304 after the whole look-up.
SMALL_BYTES = 1024
CONDITIONAL = {**HEADERS, "If-None-Match": "*"}


async def million_entries(stage: Stage) -> list[Line]:
    """Row 9: the time of a look-up, and the memory of an entry."""
    few, many = (100, 2000) if stage.tiny else (FEW, MANY)
    bytes_each, small_picture = 0.0, picture(SMALL_BYTES)
    paid_before = len(stage.provider.calls)
    async with AsyncExitStack() as stack:
        loads: dict[tuple[str, str], Load] = {}
        for name, count, asked in (
            ("few", few, (ASKED,)),
            ("many", many, (ASKED, ASKED_WIDELY)),
        ):
            server = stack.enter_context(redis_server(stage.new_folder()))
            project = Project.parse(PROJECT)
            seeds = [Seed(project, number, small_picture) for number in range(count)]
            async with Redis.from_url(server.url) as redis:
                bytes_each = await _bytes_each(redis, seeds)
            picked = {n: random.sample(seeds, min(n, count)) for n in asked}
            for some in picked.values():
                await write_pictures(stage, some)
            for source, wanted in product(stage.sources, asked):
                running = stage.service(source, settings={"REDIS_URL": server.url})
                service = await stack.enter_async_context(running)
                targets = tuple(seed.target for seed in picked[wanted])
                place = name if wanted == ASKED else "widely"
                load = Load(service.url, targets, CONDITIONAL)
                await load.ask_each_once()
                loads[place, source.label] = load
        figures = await alternate(
            {name: load.run for name, load in loads.items()},
            # Short ones, and more of them: a ratio near 1 drowns in the noise
            # of a machine that does different things from second to second.
            rounds=max(1, round(stage.rounds * stage.seconds)),
            seconds=min(1.0, stage.seconds),
        )
        alone = await one_at_a_time(
            loads, rounds=stage.rounds, seconds=min(1.0, stage.seconds)
        )
    if len(stage.provider.calls) > paid_before:
        raise LoadFailed("Prompts were painted, so what was measured is no look-up.")
    lines = [
        single(
            "9",
            "Redis memory for an entry, everything counted",
            [bytes_each],
            unit="bytes",
            at_most=700.0,
        )
    ]
    what = f"look-up among {many:,} entries against {few:,}"
    for label in (source.label for source in stage.sources):
        small, large, wide = (("few", label), ("many", label), ("widely", label))
        lines += [
            single(
                "9",
                f"{what}, under load",
                _quotients(figures[small], figures[large]),
                unit="ratio",
                at_most=1.1,
                note=label,
            ),
            single(
                "9",
                f"{what}, one at a time",
                _quotients(alone[large], alone[small]),
                unit="ratio",
                at_most=1.1,
                note=label,
            ),
            single(
                "9",
                f"the same, {ASKED_WIDELY:,} prompts asked for against {ASKED:,}",
                _quotients(figures[large], figures[wide]),
                unit="ratio",
                at_most=None,
                note=label,
            ),
        ]
    return lines


def _quotients(ones: list[float], others: list[float]) -> list[float]:
    return [one / other for one, other in zip(ones, others, strict=True)]


async def _bytes_each(redis: Redis, seeds: list[Seed]) -> float:
    before = (await redis.info("memory"))["used_memory"]
    await write_entries(redis, seeds)
    after = (await redis.info("memory"))["used_memory"]
    return float(after - before) / len(seeds)
