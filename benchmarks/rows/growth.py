"""Row 10: the processor time of a HIT while everything grows tenfold."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING

import aiohttp
from yarl import URL

from app.storage.storage_key import Project
from benchmarks.figures import Line, alternate, single
from benchmarks.load import Load, taking_turns
from benchmarks.machine import cpu_for_each, cpu_seconds
from benchmarks.seeds import WRITERS, Seed, keep, picture

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from benchmarks.stage import Source, Stage
    from tests.replica import Replica

# Small or large, and the label of a source.
_Name = tuple[str, str]

PROMPTS, PROJECTS = 1000, 1
GROWS = 10
ROOM_FOR_EACH_BYTES = 80_000


async def cpu_per_hit(stage: Stage) -> list[Line]:
    """Row 10: ten times the prompts, projects and bytes in the hot tier."""
    few = 20 if stage.tiny else PROMPTS
    small = _seeds(few, PROJECTS)
    large = _seeds(few * GROWS, PROJECTS * GROWS)
    await keep(stage, large + small)
    async with AsyncExitStack() as stack:
        services: dict[_Name, Replica] = {}
        loads: dict[_Name, Load] = {}
        for source in stage.sources:
            for name, seeds in (("small", small), ("large", large)):
                running = _warm(stage, source, seeds)
                service = await stack.enter_async_context(running)
                services[name, source.label] = service
                targets = tuple(map(_target, seeds))
                loads[name, source.label] = Load(service.url, targets)
        under_load = await alternate(
            {name: cpu_for_each(services[name], load) for name, load in loads.items()},
            # Like those of row 9: short, and more of them.
            rounds=max(1, round(stage.rounds * stage.seconds)),
            seconds=min(1.0, stage.seconds),
        )
        alone = await _one_at_a_time(stage, services, loads)
    return [
        single(
            "10",
            f"processor time of a HIT, ten times the prompts, projects and hot tier, "
            f"{how}",
            [
                large / small
                for small, large in zip(
                    figures["small", source.label],
                    figures["large", source.label],
                    strict=True,
                )
            ],
            unit="ratio",
            at_most=1.1,
            note=source.label,
        )
        for source in stage.sources
        for how, figures in (("under load", under_load), ("one at a time", alone))
    ]


def _seeds(prompts: int, projects: int) -> list[Seed]:
    data = picture()
    return [
        Seed(Project("acme", f"shop-{projects}-{number % projects}"), number, data)
        for number in range(prompts)
    ]


@asynccontextmanager
async def _warm(
    stage: Stage, source: Source, seeds: list[Seed]
) -> AsyncIterator[Replica]:
    """Run a replica that has every picture of *seeds* in its hot tier."""
    room = str(max(20_000_000, len(seeds) * ROOM_FOR_EACH_BYTES))
    # Projects are named in the query, so that one load covers many of them.
    settings = {"AUTH": "off", "HOT_TIER_BYTES": room}
    async with (
        stage.service(source, settings=settings) as service,
        aiohttp.ClientSession() as session,
    ):
        waiting = iter(seeds)

        async def ask() -> None:
            for seed in waiting:
                url = URL(service.url + _target(seed), encoded=True)
                async with session.get(url) as answer:
                    answer.raise_for_status()
                    await answer.read()

        await asyncio.gather(*(ask() for _ in range(WRITERS)))
        yield service


def _target(seed: Seed) -> str:
    return f"{seed.target}&project={seed.project}"


async def _one_at_a_time(
    stage: Stage, services: dict[_Name, Replica], loads: dict[_Name, Load]
) -> dict[_Name, list[float]]:
    """Return the same for single hits in turn."""
    figures: dict[_Name, list[float]] = {name: [] for name in loads}
    async with taking_turns(loads) as turns:
        for _ in range(stage.rounds):
            before = {
                name: cpu_seconds(service.process.pid)
                for name, service in services.items()
            }
            for name, took in (await turns(min(2.0, stage.seconds))).items():
                spent = cpu_seconds(services[name].process.pid) - before[name]
                figures[name].append(spent / len(took) * 1e6)
    return figures
