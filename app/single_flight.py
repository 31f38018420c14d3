"""One call for all that ask for the same thing at the same time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

_K = TypeVar("_K", bound="Hashable")
_T = TypeVar("_T")


class SingleFlight(Generic[_K, _T]):
    """At most one call for each key at a time; it lasts no longer than its callers."""

    def __init__(self) -> None:
        self._ongoing: dict[_K, asyncio.Future[_T]] = {}

    async def share(self, key: _K, call: Callable[[], Awaitable[_T]]) -> _T:
        """Return the result of *call*, or of a call that is under way for *key*.

        All who share a call get its error as well. A caller that is cancelled
        does not cancel the others.
        """
        while (ongoing := self._ongoing.get(key)) is not None:
            await asyncio.wait([ongoing])
            if not ongoing.cancelled():
                return ongoing.result()
            # The caller that made the call was cancelled: the next one makes it.
        return await self._call(key, call)

    async def share_next(self, key: _K, call: Callable[[], Awaitable[_T]]) -> _T:
        """Return like `share`, but never from a call that began before this one.

        1. A call reads something. 2. It is removed, and its owner gets an answer.
        3. A caller that comes now must not get what the call has read. An error
        is shared all the same, because it contains nothing that was read.
        """
        ongoing = self._ongoing.get(key)
        if ongoing is not None:
            await asyncio.wait([ongoing])
            if not ongoing.cancelled() and ongoing.exception() is not None:
                return ongoing.result()
        return await self.share(key, call)

    async def _call(self, key: _K, call: Callable[[], Awaitable[_T]]) -> _T:
        ongoing = asyncio.get_running_loop().create_future()
        self._ongoing[key] = ongoing
        try:
            result = await call()
        except asyncio.CancelledError:
            ongoing.cancel()
            raise
        except Exception as error:
            ongoing.set_exception(error)
            # Retrieved: there may be no other caller.
            ongoing.exception()
            raise
        finally:
            del self._ongoing[key]
        ongoing.set_result(result)
        return result
