"""The time for which the event loop is kept from everything else."""

from __future__ import annotations

import asyncio
import gc
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from app.background import running

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@dataclass
class LoopLag:
    """The longest that the loop was at one thing, in seconds of processor time.

    Of this process and all its threads: what other processes take from a busy
    machine is no fault of the loop's, and a thread that holds the interpreter is.
    """

    longest_seconds: float = 0.0


@asynccontextmanager
async def loop_lag() -> AsyncIterator[LoopLag]:
    """Measure as long as the context is open, without Python's garbage collector.

    All that a test run holds would be collected in the middle of it.
    """
    lag = LoopLag()
    gc.disable()
    try:
        async with running(_measure(lag), name="loop-lag"):
            # Whatever was scheduled before is not the fault of what comes.
            await asyncio.sleep(0.01)
            lag.longest_seconds = 0.0
            yield lag
    finally:
        gc.enable()


async def _measure(lag: LoopLag) -> None:
    while True:
        began = time.process_time()
        await asyncio.sleep(0.001)
        lag.longest_seconds = max(lag.longest_seconds, time.process_time() - began)
