"""Counted look-ups of unpainted prompts: all who wait for one flight are one."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from app.generation.spending import Permit
    from app.prompt_cache.flight.flights import Flights

# The look-ups of a flood are counted late; none waits for that twice.
WAITS_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class CountedLookUps:
    """Counts look-ups of visitors, one for all who go on to wait for one flight."""

    flights: Flights[Any]
    # Of each prompt the look-up of a visitor that may begin its flight.
    _first: dict[str, asyncio.Future[None]] = field(default_factory=dict)

    @asynccontextmanager
    async def counted(
        self, prompt_hash: str, permit: Permit, *, before: bool
    ) -> AsyncIterator[bool]:
        """Count a look-up by *permit*, unless a flight can be joined instead.

        Gives whether it is counted, now or *before*.

        1. A counts a look-up, and reads the quota of its scope. 2. B to Z want the
        same picture: no flight can be joined yet. 3. A starts the flight. So B to Z
        wait until A leaves this context, and count only where nothing flies then.

        Raises `RateLimited`.
        """
        first = self._first.get(prompt_hash)
        if first is not None and permit.is_visitor and not before:
            await asyncio.wait([first], timeout=WAITS_SECONDS)
        if before or self.flights.is_flying(prompt_hash):
            yield before
            return
        is_first = permit.is_visitor and prompt_hash not in self._first
        if is_first:
            self._first[prompt_hash] = asyncio.get_running_loop().create_future()
        try:
            await permit.count_look_up()
            yield True
        finally:
            if is_first:
                self._first.pop(prompt_hash).set_result(None)
