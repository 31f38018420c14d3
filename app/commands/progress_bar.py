"""A progress bar that moves with each item, and whose clock never stands still."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Never

from tqdm import tqdm

REDRAW_SECONDS = 1.0


@asynccontextmanager
async def progress_bar(
    total: int | None, description: str, unit: str
) -> AsyncIterator[tqdm[Never]]:
    """Draw a bar on standard error at each update and once a second.

    tqdm by itself skips updates that follow fast on one another, and draws
    nothing while an item takes its time.
    """
    with tqdm(
        total=total, desc=description, unit=unit, mininterval=0, miniters=1
    ) as bar:
        clock = asyncio.create_task(_redraw(bar), name="progress-clock")
        try:
            yield bar
        finally:
            clock.cancel()


async def _redraw(bar: tqdm[Never]) -> None:
    while True:
        await asyncio.sleep(REDRAW_SECONDS)
        bar.refresh()
