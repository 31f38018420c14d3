"""The sums and the order of a project's entries in Redis."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from app.errors import CacheUnavailable
from app.storage.redis import keys
from app.storage.redis import statistics_scripts as scripts
from app.storage.redis.client.failures import CacheFull

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from app.storage.ports.statistics import Batch
    from app.storage.redis.client.connection import RedisConnection


HOURS_A_DAY = 24
# What is asked for at the most, 35 days, and the day that it begins in.
KEPT_SECONDS = 37 * 86_400


class RedisStatistics:
    """Batches are numbered for each process, so that none is added twice."""

    def __init__(self, commands: RedisConnection) -> None:
        self._commands = commands
        self._replica = uuid4().hex[:12]

    async def apply(self, project: str, number: int, batch: Batch) -> None:
        """Add a batch unless its number was added before."""
        args: list[str | bytes | int] = [
            number,
            batch.hour,
            KEPT_SECONDS,
            len(batch.sums),
        ]
        for name, amount in batch.sums.items():
            args += name, repr(amount)
        for prompts in (batch.removed, batch.accesses, batch.added):
            args += _flattened(prompts)
        try:
            await self._commands.run(
                scripts.APPLY,
                [
                    keys.statistics(project),
                    keys.by_recency(project),
                    keys.by_hits(project),
                    keys.batch(project, self._replica),
                    keys.history(project, batch.hour // HOURS_A_DAY),
                ],
                args,
            )
        except CacheFull as error:
            raise CacheUnavailable("The cache is full.") from error

    async def read(self, project: str) -> dict[str, float]:
        """Return the sums by name, `entries` and `last_accessed_ms` with them."""
        reply = await self._commands.run(
            scripts.READ_STATISTICS,
            [keys.statistics(project), keys.by_recency(project)],
        )
        return {
            name.decode(): float(value)
            for name, value in zip(reply[::2], reply[1::2], strict=True)
        }

    async def history(
        self, project: str, hours: Sequence[int]
    ) -> list[dict[str, float]]:
        """Return the sums of each of *hours*, empty ones included."""
        days = sorted({hour // HOURS_A_DAY for hour in hours})
        replies = await asyncio.gather(
            *(
                self._commands.execute("HGETALL", keys.history(project, day))
                for day in days
            )
        )
        found: dict[int, dict[str, float]] = defaultdict(dict)
        for reply in replies:
            for field, amount in _pairs(reply):
                hour, _, name = field.decode().partition(":")
                found[int(hour)][name] = float(amount)
        return [found[hour] for hour in hours]

    async def page(
        self, project: str, *, by_hits: bool, after: tuple[int, str], limit: int
    ) -> list[tuple[int, str]]:
        """Return scores and prompt hashes, the highest first, after *after*."""
        key = keys.by_hits(project) if by_hits else keys.by_recency(project)
        score, prompt_hash = after
        found = await self._commands.run(
            scripts.PAGE, [key], [score, keys.member(prompt_hash), limit]
        )
        return [
            (int(float(score)), member.hex())
            for member, score in zip(found[::2], found[1::2], strict=True)
        ]


def _pairs(reply: Any) -> Iterator[tuple[bytes, bytes]]:
    """Yield the pairs of HGETALL: of a flat list, or of a Cluster client's map."""
    if isinstance(reply, dict):
        yield from reply.items()
    else:
        yield from zip(reply[::2], reply[1::2], strict=True)


def _flattened(prompts: Mapping[str, int | tuple[int, int]]) -> list[bytes | int]:
    flat: list[bytes | int] = [len(prompts)]
    for prompt_hash, value in prompts.items():
        flat.append(keys.member(prompt_hash))
        flat += value if isinstance(value, tuple) else (value,)
    return flat
