"""The port to the statistics of projects, which replicas write in batches."""

from __future__ import annotations

import time
from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

SECONDS_AN_HOUR = 3600


def this_hour() -> int:
    """Return the hour that runs, counted from 1970."""
    return int(time.time() // SECONDS_AN_HOUR)


@dataclass(slots=True)
class Batch:
    """The events of one project since the last batch, which began in *hour*.

    *sums* are amounts by name; *accesses* the time (ms) and the hits of the
    last access of a prompt hash; *added* the time and the size of entries that
    came, *removed* the size of those that went.
    """

    hour: int = field(default_factory=this_hour)
    sums: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    accesses: dict[str, tuple[int, int]] = field(default_factory=dict)
    added: dict[str, tuple[int, int]] = field(default_factory=dict)
    removed: dict[str, int] = field(default_factory=dict)


class StatisticsStore(Protocol):
    """The sums of all replicas; every method raises `CacheUnavailable`."""

    async def apply(self, project: str, number: int, batch: Batch) -> None:
        """Add *batch* unless this replica has added its *number* before."""
        ...

    async def read(self, project: str) -> dict[str, float]:
        """Return the sums by name, `entries` and `last_accessed_ms` with them."""
        ...

    async def history(
        self, project: str, hours: Sequence[int]
    ) -> list[dict[str, float]]:
        """Return the sums of each of *hours* (since 1970), empty ones included."""
        ...

    async def page(
        self, project: str, *, by_hits: bool, after: tuple[int, str], limit: int
    ) -> list[tuple[int, str]]:
        """Return scores and prompt hashes, the highest first, after *after*."""
        ...
