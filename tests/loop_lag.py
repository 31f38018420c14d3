"""The longest time for which the event loop is blocked."""

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
    """The longest time that the loop was blocked, in seconds of processor time.

    It is the processor time of this process and all its threads: time that other
    processes take from a busy machine does not count, and a thread that holds the
    interpreter does.
    """

    longest_seconds: float = 0.0


@asynccontextmanager
async def loop_lag() -> AsyncIterator[LoopLag]:
    """Measure as long as the context is open, without garbage collection.

    Else all objects of the test run would be collected in the middle of it.
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
