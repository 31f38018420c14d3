"""Rows 1, 3 and 6: a HIT from the hot tier, and a 304."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from benchmarks.figures import OURS, Line, rates, ratios, single
from benchmarks.load import Load, one_at_a_time
from benchmarks.stage import HEADERS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from benchmarks.stage import Stage

BARE = "bare aiohttp handler"
PROMPT = "a lighthouse in a storm"


async def hot_hit(stage: Stage) -> list[Line]:
    """Row 1: the whole stack against the framework alone."""
    async with _both(stage, "in_memory") as loads:
        figures = await rates(stage, loads)
    return ratios("1", "HIT from the hot tier", figures, goals={BARE: 0.70})


async def not_modified(stage: Stage) -> list[Line]:
    """Row 3: a 304 against a bare 304."""
    async with _both(stage, "not_modified", {"If-None-Match": "*"}) as loads:
        figures = await rates(stage, loads)
    return ratios("3", "304 for a cached prompt", figures, goals={BARE: 0.60})


async def added_latency(stage: Stage) -> list[Line]:
    """Row 6: the latency of a single HIT above that of the bare handler."""
    async with _both(stage, "in_memory") as loads:
        figures = await one_at_a_time(
            loads, rounds=stage.rounds, seconds=min(2.0, stage.seconds)
        )
    added = [
        one - other for one, other in zip(figures[OURS], figures[BARE], strict=True)
    ]
    return [
        single(
            "6",
            "latency that a HIT on an idle server adds",
            added,
            unit="ms",
            at_most=1.0,
            against=BARE,
        )
    ]


@asynccontextmanager
async def _both(
    stage: Stage, kind: str, more: dict[str, str] | None = None
) -> AsyncIterator[dict[str, Load]]:
    """Run each source and the bare handler *kind*, with *more* request headers."""
    async with stage.services() as services:
        asked = {**HEADERS, **(more or {})}
        loads = {}
        for name, service in services.items():
            picture = await stage.paint(service, PROMPT)
            loads[name] = Load(service.url, (picture.target,), asked)
        async with stage.bare(kind, data=picture.data, headers=picture.headers) as bare:
            yield {**loads, BARE: Load(bare, (picture.target,), asked)}
