"""Background tasks: started under a name, and ended with their owner."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from typing import Any, TypeVar

CANCEL_AGAIN_SECONDS = 0.25
_STEP = 500

_T = TypeVar("_T")
_U = TypeVar("_U")


async def in_steps(convert: Callable[[_T], _U], items: Sequence[_T]) -> list[_U]:
    """Return *items*, each converted; other tasks run in between.

    For lists of thousands, which would keep the event loop for a tenth of a second.
    """
    made: list[_U] = []
    for at in range(0, len(items), _STEP):
        made += map(convert, items[at : at + _STEP])
        await asyncio.sleep(0)
    return made


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
