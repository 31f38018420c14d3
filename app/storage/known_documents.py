"""Documents of the ledger, at hand in this replica and never stale for long.

A request must not wait for the ledger to learn who asks: what is in use is
read again beside the way, so that a change arrives within five seconds. While
the ledger is away, what was read in the last ten minutes goes on.
"""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

from cachetools import LRUCache

from app.background import running
from app.errors import StorageUnavailable
from app.single_flight import SingleFlight

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from app.storage.ports.documents import Documents, Fields

logger = logging.getLogger(__name__)

_T = TypeVar("_T")

# A change is seen after this at the most: the refresh of what is in use comes
# round sooner, and what is not is read again when it is asked for.
FRESH_SECONDS = 3.5
REFRESH_EVERY_SECONDS = 1.0
READ_WITHIN_SECONDS = 1.0
# After a failed read nobody tries again for so long, but the refresh: an outage
# that has ended is told for a second at the most (decision 5).
AWAY_SECONDS = 0.5
# How long what was read goes on while the ledger is away.
STALE_FOR_SECONDS = 600.0

_KEPT = 10_000
_AT_ONCE = 16


@dataclass(slots=True)
class _Known(Generic[_T]):
    value: _T
    read_at: float
    due_at: float
    is_used: bool = True


class KnownDocuments(Generic[_T]):
    """What *parse* makes of documents; it is given None where there is none.

    *parse* returns None for what need not be kept fresh: it is read again when
    somebody asks for it, *absent_seconds* after the last time at the earliest.
    """

    def __init__(
        self,
        documents: Documents,
        parse: Callable[[str, Fields | None], _T | None],
        *,
        absent_seconds: float = FRESH_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._documents = documents
        self._parse = parse
        self._absent_seconds = absent_seconds
        self._clock = clock
        self._known: dict[str, _Known[_T]] = {}
        self._absent: LRUCache[str, float] = LRUCache(_KEPT)
        self._away_until = -1.0
        self._reads: SingleFlight[str, _T | None] = SingleFlight()

    def at_hand(self, name: str) -> _T | None:
        """Return what is known of *name* and fresh, else None; awaits nothing."""
        known = self._known.get(name)
        if known is None:
            return None
        known.is_used = True
        now = self._clock()
        if known.due_at < now and not self._outlives(known, now):
            return None
        return known.value

    async def get(
        self, name: str, *, before_look_up: Callable[[], None] = lambda: None
    ) -> _T | None:
        """Return what *name* is, read anew where it is not fresh.

        *before_look_up* runs, and may refuse, before a look-up of what this
        replica does not know. Raises `StorageUnavailable`.
        """
        value = self.at_hand(name)
        if value is not None:
            return value
        if name not in self._known:
            if self._absent.get(name, -1.0) > self._clock():
                return None
            before_look_up()
        if self._away_until > self._clock():
            # Whoever is not known would only wait for the same outage.
            raise StorageUnavailable("The ledger is away.")
        return await self._reads.share(name, lambda: self._read(name))

    def forget(self, name: str) -> None:
        """Read *name* anew when it is asked for: it was changed here."""
        self._known.pop(name, None)
        self._absent.pop(name, None)

    async def _read(self, name: str) -> _T | None:
        try:
            async with asyncio.timeout(READ_WITHIN_SECONDS):
                fields = await self._documents.read(name)
        except (StorageUnavailable, TimeoutError) as error:
            return self._outlived(name, error)
        value, now = self._parse(name, fields), self._clock()
        if value is None:
            self._known.pop(name, None)
            self._absent[name] = now + self._absent_seconds
            return None
        before = self._known.pop(name, None)
        used = before.is_used if before else True
        # At the end of the dict: what was read longest ago goes first.
        self._known[name] = _Known(value, now, now + FRESH_SECONDS, used)
        while len(self._known) > _KEPT:
            del self._known[next(iter(self._known))]
        return value

    def _outlived(self, name: str, outage: Exception) -> _T:
        known, now = self._known.get(name), self._clock()
        self._away_until = now + AWAY_SECONDS
        if known is None or not self._outlives(known, now):
            raise StorageUnavailable("The ledger is away.") from outage
        return known.value

    def _outlives(self, known: _Known[_T], now: float) -> bool:
        is_away = self._away_until > now
        return is_away and now - known.read_at <= STALE_FOR_SECONDS

    @asynccontextmanager
    async def kept_fresh(self) -> AsyncIterator[None]:
        """Read again what is in use, as long as the context is open."""
        async with running(self._keep_fresh(), name="known-documents"):
            yield

    async def _keep_fresh(self) -> None:
        while True:
            await asyncio.sleep(REFRESH_EVERY_SECONDS)
            try:
                await self.refresh()
            except Exception:
                # Whoever asks reads by himself then; the next round may do.
                logger.exception("documents are not refreshed")

    async def refresh(self) -> None:
        """Read again what was asked for since the last time."""
        used = [name for name, known in self._known.items() if known.is_used]
        at_once = asyncio.Semaphore(_AT_ONCE)

        async def refresh(name: str) -> None:
            async with at_once:
                try:
                    await self._reads.share(name, lambda: self._read(name))
                except StorageUnavailable:
                    # It has outlived its outage: whoever asks next is told.
                    self._known.pop(name, None)

        for name in used:
            self._known[name].is_used = False
        await asyncio.gather(*map(refresh, used))
