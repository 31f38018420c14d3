"""Records of generations in Redis, each with a time to live."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from app.errors import CacheUnavailable
from app.storage.redis import keys, scripts
from app.storage.redis.client.connection import CacheFull

if TYPE_CHECKING:
    from datetime import timedelta

    from app.storage.redis.client.connection import RedisConnection


class RedisGenerations:
    """`GenerationStore` in Redis."""

    def __init__(self, commands: RedisConnection) -> None:
        self._commands = commands

    async def put(self, generation_id: str, record: bytes, keep_for: timedelta) -> None:
        """Keep *record* for so long, and tell whoever expects news of it."""
        try:
            await self._commands.run(
                scripts.KEEP_GENERATION,
                [keys.generation(generation_id)],
                [
                    record,
                    round(keep_for.total_seconds()),
                    keys.LANDED,
                    generation_id,
                ],
            )
        except CacheFull as error:
            raise CacheUnavailable("The cache is full.") from error

    async def get(self, generation_id: str) -> bytes | None:
        """Return the record, or None."""
        found = await self._commands.execute("GET", keys.generation(generation_id))
        return cast("bytes | None", found)
