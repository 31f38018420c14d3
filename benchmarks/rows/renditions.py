"""Row 12: a HIT of a rendition is as fast as a HIT of a picture of that size."""

from __future__ import annotations

from typing import TYPE_CHECKING

import aiohttp

from benchmarks.figures import OURS, Line, rates, ratios
from benchmarks.load import Load
from benchmarks.stage import HEADERS

if TYPE_CHECKING:
    from benchmarks.stage import Stage

PICTURE = "HIT of a picture of the same size"
RENDITION = "&w=64&format=webp"


async def rendition_hit(stage: Stage) -> list[Line]:
    """Row 12: a rendition in the hot tier against a picture there."""
    async with stage.services() as services:
        service = services[OURS]
        large = await stage.paint(service, "a lighthouse in a storm")
        target = f"{large.target}{RENDITION}"
        async with (
            aiohttp.ClientSession(headers=HEADERS) as session,
            session.get(service.url + target) as answer,
        ):
            answer.raise_for_status()
            size = len(await answer.read())
        same = await stage.paint(service, "a small lighthouse", size)
        loads = {
            OURS: Load(service.url, (target,), HEADERS),
            PICTURE: Load(service.url, (same.target,), HEADERS),
        }
        figures = await rates(stage, loads)
    return ratios("12", "HIT of a rendition", figures, goals={PICTURE: 0.95})
