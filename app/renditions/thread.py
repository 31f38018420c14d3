"""A thread for one slow call, which never holds up the end of the process."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import ParamSpec, TypeVar

_P = ParamSpec("_P")
_T = TypeVar("_T")

# The event loop goes first where both want the same core.
_NICENESS = 5


async def in_thread(call: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
    """Return the result of *call*, off the event loop.

    The thread is a daemon: `ThreadPoolExecutor` would wait for a call of half a
    minute after a drain has given everything up. A process of its own would
    cost 60 MB and copies of the pictures, and gain nothing: Pillow's codecs
    and filters run without the interpreter's lock.
    """
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[_T] = loop.create_future()

    def settle(result: _T | None, error: Exception | None) -> None:
        if ended.cancelled():
            return
        if error is not None:
            ended.set_exception(error)
        else:
            ended.set_result(result)  # type: ignore[arg-type]

    def run() -> None:
        with suppress(OSError, AttributeError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICENESS)
        result, failure = None, None
        try:
            result = call(*args, **kwargs)
        except Exception as error:  # noqa: BLE001 - raised where it is awaited
            failure = error
        # The loop may have been closed meanwhile.
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(settle, result, failure)

    threading.Thread(target=run, name="rendition", daemon=True).start()
    return await ended
