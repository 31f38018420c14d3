"""Documents of the ledger that this replica keeps in memory, and reads again.

A request does not wait for the ledger to learn who asks: what is in use is
read again in the background, so that a change arrives within five seconds.
What may pay needs a document as the ledger had it in that time (`current`);
HITs go on for ten minutes with one that can't be read (`get`). A name
that is slow, damaged or unavailable affects no other.
"""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

from cachetools import LRUCache

from app.background import ended, running
from app.errors import ServiceError, StorageUnavailable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from contextlib import AbstractAsyncContextManager

    from app.storage.ports.documents import Documents, Fields

    # The context of a look-up by a stranger; yields what notes an unknown name.
    LookUp = Callable[[], AbstractAsyncContextManager[Callable[[], None]]]

logger = logging.getLogger(__name__)

_T = TypeVar("_T")

# The refresh of what is in use comes round sooner than this.
FRESH_SECONDS = 3.5
REFRESH_EVERY_SECONDS = 1.0
# What is older may not pay: a change has to arrive within five seconds.
MAX_AGE_SECONDS = 5.0
# Three reads of a store that is slow and answers each in its time: the document's,
# and of one that is absent the look at the ledger that is under way, and the next.
READ_WITHIN_SECONDS = 4.5
# How long a HIT waits for a slow read before it goes on with what was read before.
STALE_AFTER_SECONDS = 1.5
# TTL for an outage of one name: long enough for those who ask right now.
UNAVAILABLE_SECONDS = 0.5
STALE_FOR_SECONDS = 600.0

_MAX_KEPT = 10_000
_REFRESHES_AT_ONCE = 16


@dataclass(slots=True)
class _Known(Generic[_T]):
    """A *value* that was there at *read_at*; *is_failing* since a read failed."""

    value: _T
    read_at: float
    is_used: bool = True
    is_failing: bool = False


class KnownDocuments(Generic[_T]):
    """A cache of parsed documents; *parse* is given None where there is none.

    *parse* returns None for what need not be kept: it is read again when it is
    asked for, *absent_seconds* after the last time at the earliest. What it
    raises says that the document is damaged. *on_stale* is called for each
    answer with a document that can't be read any more.
    """

    def __init__(
        self,
        documents: Documents,
        parse: Callable[[str, Fields | None], _T | None],
        *,
        absent_seconds: float = FRESH_SECONDS,
        on_stale: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._documents = documents
        self._parse = parse
        self._absent_seconds = absent_seconds
        self._on_stale = on_stale
        self._clock = clock
        self._known: dict[str, _Known[_T]] = {}
        self._absent: LRUCache[str, float] = LRUCache(_MAX_KEPT)
        self._unavailable: LRUCache[str, float] = LRUCache(_MAX_KEPT)
        self._reads: dict[str, asyncio.Task[_T | None]] = {}

    def cached(self, name: str) -> _T | None:
        """Return the cached document *name* if it may serve a HIT; awaits nothing."""
        known = self._known.get(name)
        if known is None:
            return None
        known.is_used = True
        age = self._clock() - known.read_at
        if age <= FRESH_SECONDS:
            return known.value
        if not known.is_failing or age > STALE_FOR_SECONDS:
            return None
        self._on_stale()
        return known.value

    async def get(self, name: str, *, look_up: LookUp | None = None) -> _T | None:
        """Return the document *name* for a HIT, read anew where it is not fresh.

        What this replica does not know is read in the context of *look_up*,
        which may refuse; those who wait for one read are one look-up. Raises
        `StorageUnavailable`.
        """
        value = self.cached(name)
        if value is not None:
            return value
        known = self._known.get(name)
        if known is None or self._clock() - known.read_at > STALE_FOR_SECONDS:
            return await self._look_up(name, look_up)
        read = self._read(name)
        await asyncio.wait([read], timeout=STALE_AFTER_SECONDS)
        if read.done() and not read.cancelled() and read.exception() is None:
            return read.result()
        known.is_failing = True
        self._on_stale()
        return known.value

    async def current(self, name: str) -> _T | None:
        """Return the document *name* as the ledger had it within five seconds.

        Raises `StorageUnavailable` where that can't be read.
        """
        known = self._known.get(name)
        if known is not None:
            known.is_used = True
            if self._clock() - known.read_at <= MAX_AGE_SECONDS:
                return known.value
        return await self._look_up(name, None)

    def forget(self, name: str) -> None:
        """Read *name* anew when it is asked for: it was changed here."""
        self._known.pop(name, None)
        self._absent.pop(name, None)
        self._unavailable.pop(name, None)
        # What is being read may be from before the change: it is not kept.
        self._reads.pop(name, None)

    async def _look_up(self, name: str, look_up: LookUp | None) -> _T | None:
        now = self._clock()
        if self._absent.get(name, -1.0) > now:
            return None
        if self._unavailable.get(name, -1.0) > now:
            raise _unavailable()
        # A caller that is cancelled leaves the read to the others.
        return await asyncio.shield(self._read(name, look_up))

    def _read(
        self, name: str, look_up: LookUp | None = None
    ) -> asyncio.Task[_T | None]:
        """Return the read of *name*, one for all who need it meanwhile."""
        reading = self._reads.get(name)
        if reading is None:
            reading = asyncio.create_task(self._turn(name, look_up), name="document")
            self._reads[name] = reading
            reading.add_done_callback(lambda done: self._has_read(name, done))
        return reading

    def _has_read(self, name: str, reading: asyncio.Task[_T | None]) -> None:
        if self._reads.get(name) is reading:
            del self._reads[name]
        if not reading.cancelled():
            # Retrieved: perhaps no caller is left.
            reading.exception()

    async def _turn(self, name: str, look_up: LookUp | None) -> _T | None:
        if look_up is None:
            return await self._read_now(name)
        async with look_up() as note_unknown:
            value = await self._read_now(name)
            if value is None:
                note_unknown()
            return value

    async def _read_now(self, name: str) -> _T | None:
        reading, began_at = asyncio.current_task(), self._clock()
        try:
            async with asyncio.timeout(READ_WITHIN_SECONDS):
                fields = await self._documents.read(name)
            value = self._parse(name, fields)
        except (StorageUnavailable, TimeoutError) as error:
            self._note_failure(name)
            raise _unavailable() from error
        except (KeyError, TypeError, ValueError, ServiceError) as error:
            self._note_failure(name)
            logger.exception("document is damaged", extra={"document": name})
            raise _unavailable() from error
        if self._reads.get(name) is reading:
            self._keep(name, value, began_at)
        return value

    def _keep(self, name: str, value: _T | None, began_at: float) -> None:
        self._unavailable.pop(name, None)
        before = self._known.pop(name, None)
        if value is None:
            self._absent[name] = self._clock() + self._absent_seconds
            return
        self._absent.pop(name, None)
        used = before.is_used if before else True
        # At the end of the dict: what was read longest ago goes first.
        self._known[name] = _Known(value, began_at, used)
        while len(self._known) > _MAX_KEPT:
            del self._known[next(iter(self._known))]

    def _note_failure(self, name: str) -> None:
        known = self._known.get(name)
        if known is not None:
            known.is_failing = True
        self._unavailable[name] = self._clock() + UNAVAILABLE_SECONDS

    @asynccontextmanager
    async def kept_fresh(self) -> AsyncIterator[None]:
        """Read again what is in use, as long as the context is open."""
        try:
            async with running(self._keep_fresh(), name="known-documents"):
                yield
        finally:
            await asyncio.gather(*map(ended, list(self._reads.values())))

    async def _keep_fresh(self) -> None:
        while True:
            await asyncio.sleep(REFRESH_EVERY_SECONDS)
            await self.refresh()

    async def refresh(self) -> None:
        """Read again what was asked for since the last time."""
        used = [name for name, known in self._known.items() if known.is_used]
        at_once = asyncio.Semaphore(_REFRESHES_AT_ONCE)

        async def refresh(name: str) -> None:
            async with at_once:
                await asyncio.wait([self._read(name)])

        for name in used:
            self._known[name].is_used = False
        await asyncio.gather(*map(refresh, used))


def _unavailable() -> StorageUnavailable:
    return StorageUnavailable("A document in the ledger can't be read.")
