"""Overlapping refreshes: one payment, whenever they meet.

A refresh writes down its generation before it paints, and when its answer goes
out. One that arrived before that moment takes the picture of that generation:

1. A commits its picture. 2. B arrives at another replica, and sees A's picture.
3. A answers. B must not pay to replace what A's caller has not even seen.
"""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

import orjson

from app.errors import CacheUnavailable

if TYPE_CHECKING:
    from app.prompt_cache.entry.entry import PromptEntry
    from app.storage.ports.prompt_index import PromptIndex

# How long an answer may still go out, of a replica or a client that is gone.
KEPT_FOR = timedelta(seconds=30)


@dataclass(frozen=True, slots=True)
class Overlaps:
    """Notes when refreshes are answered; by the clocks of the replicas."""

    index: PromptIndex

    async def begin(
        self, prompt_hash: str, generation_id: str, within: timedelta
    ) -> None:
        """Note that a refresh begins; it is over and answered *within* that time."""
        await self._mark(prompt_hash, generation_id, None, within + KEPT_FOR)

    async def stored(self, prompt_hash: str, generation_id: str) -> None:
        """Note that a picture is there whose refresh is answered soon, or never."""
        await self._mark(prompt_hash, generation_id, None, KEPT_FOR)

    async def answered(self, prompt_hash: str, generation_id: str) -> None:
        """Note that the answer of a refresh goes out now."""
        await self._mark(prompt_hash, generation_id, now(), KEPT_FOR)

    async def covers(self, current: PromptEntry, arrived_at: float) -> bool:
        """Return whether *current* is of a refresh not answered by *arrived_at*.

        Raises `CacheUnavailable`.
        """
        mark = await self.index.refresh_mark(current.prompt_hash)
        if mark is None:
            return False
        generation_id, answered_at = orjson.loads(mark)
        if generation_id != current.generation_id:
            return False
        return answered_at is None or bool(arrived_at < answered_at)

    async def _mark(
        self,
        prompt_hash: str,
        generation_id: str,
        answered_at: float | None,
        keep_for: timedelta,
    ) -> None:
        mark = orjson.dumps([generation_id, answered_at])
        with suppress(CacheUnavailable):
            await self.index.mark_refresh(prompt_hash, mark, keep_for)


def now() -> float:
    """Return the time of arrivals and answers, as every replica notes it."""
    return time.time()
