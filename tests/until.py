"""Waiting for a condition that sends no event."""

from __future__ import annotations

import asyncio
import inspect
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

WITHIN_SECONDS = 10.0
# Looks become rarer, because many ask a server and take its time.
_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 0.002, 0.02


async def until(
    holds: Callable[[], bool | Awaitable[bool]],
    *,
    within_seconds: float = WITHIN_SECONDS,
) -> None:
    """Return once *holds* is true; raise `TimeoutError` after *within_seconds*."""
    pause = _FIRST_PAUSE_SECONDS
    async with asyncio.timeout(within_seconds):
        while True:
            held = holds()
            if inspect.isawaitable(held):
                held = await held
            if held:
                return
            await asyncio.sleep(pause)
            pause = min(1.2 * pause, _LONGEST_PAUSE_SECONDS)
