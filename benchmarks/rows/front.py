"""Row 13: a HIT through OpenAI's API, against one of live generation."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from benchmarks.figures import alternate, single
from benchmarks.load import Load
from benchmarks.machine import cpu_for_each
from benchmarks.stage import HEADERS

if TYPE_CHECKING:
    from benchmarks.figures import Line
    from benchmarks.stage import Stage

PROMPT = "a lighthouse in a storm"
LIVE, FRONT = "live generation", "the front"
AT_MOST = 1.5


async def front_hit(stage: Stage) -> list[Line]:
    """Row 13: the processor time of a HIT that returns its address."""
    source = stage.sources[0]
    async with stage.service(source) as service:
        picture = await stage.paint(service, PROMPT)
        body = json.dumps({"prompt": PROMPT, "response_format": "url"}).encode()
        loads = {
            LIVE: Load(service.url, (picture.target,), HEADERS),
            FRONT: Load(
                service.url,
                ("/v1/images/generations",),
                {**HEADERS, "Content-Type": "application/json"},
                method="POST",
                body=body,
            ),
        }
        figures = await alternate(
            {name: cpu_for_each(service, load) for name, load in loads.items()},
            rounds=stage.rounds,
            seconds=stage.seconds,
        )
    times = [
        front / live for front, live in zip(figures[FRONT], figures[LIVE], strict=True)
    ]
    return [
        single(
            "13",
            "processor time of a HIT through OpenAI's API, as an address",
            times,
            unit="ratio",
            at_most=AT_MOST,
            against=LIVE,
        )
    ]
