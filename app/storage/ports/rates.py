"""The port to rates: how often something happened lately, on all replicas."""

from __future__ import annotations

from datetime import timedelta
from typing import NamedTuple, Protocol


class Rate(NamedTuple):
    """Whether it *is_within* the limit, how many more would be, and when.

    After *reset* the oldest event in the window no longer counts.
    """

    is_within: bool
    remaining: int
    reset: timedelta


class Rates(Protocol):
    """Sliding windows; raises `CacheUnavailable`."""

    async def count(
        self, name: str, event: str, *, limit: int, window: timedelta
    ) -> Rate:
        """Count *event* of *name* if fewer than *limit* lie in the last *window*.

        The same *event* again is counted once.
        """
        ...

    async def take_back(self, name: str, event: str) -> None:
        """Forget *event*."""
        ...
