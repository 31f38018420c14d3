"""The port to the records of generations, which every replica can read.

A generation that has not ended is watched: unless its replica watches it again in
time, another replica claims it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import timedelta


class GenerationStore(Protocol):
    """The records of generations for all replicas; raises `CacheUnavailable`."""

    async def put(self, generation_id: str, record: bytes, keep_for: timedelta) -> None:
        """Keep *record* for *keep_for*, and notify those who follow it."""
        ...

    async def get(self, generation_id: str) -> bytes | None:
        """Return the record, or None."""
        ...

    async def watch(self, members: Sequence[str], look_in: timedelta) -> None:
        """Have *members* claimed after *look_in*, unless they are watched again."""
        ...

    async def claim(self, at_most: int, look_again_in: timedelta) -> list[str]:
        """Return members that are due, each to one replica.

        They are due again after *look_again_in*.
        """
        ...

    async def unwatch(self, member: str) -> None:
        """Remove *member* from those that are claimed."""
        ...
