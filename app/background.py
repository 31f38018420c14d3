"""Background work that somebody owns: started, named, and surely ended."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Coroutine

CANCEL_AGAIN_SECONDS = 0.25


@asynccontextmanager
async def running(work: Coroutine[Any, Any, None], *, name: str) -> AsyncIterator[None]:
    """Run *work* as long as the context is open."""
    task = asyncio.create_task(work, name=name)
    try:
        yield
    finally:
        await ended(task)


async def ended(task: asyncio.Task[Any]) -> None:
    """Cancel *task* and return when it has ended, however it did.

    Again and again: `asyncio.wait_for`, under which redis-py sends, loses a
    cancellation that comes just as it finishes (python/cpython#86296, before
    Python 3.12), and a loop that lost it would go on for ever.
    """
    while not task.done():
        task.cancel()
        await asyncio.wait([task], timeout=CANCEL_AGAIN_SECONDS)
