"""Records of generations in Redis, each with a time to live."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from app.errors import CacheUnavailable
from app.storage.redis import keys, scripts
from app.storage.redis.client.failures import CacheFull

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import timedelta

    from app.storage.redis.client.connection import RedisConnection
    from app.storage.redis.client.script import Script


class RedisGenerations:
    """`GenerationStore` in Redis."""

    def __init__(self, commands: RedisConnection) -> None:
        self._commands = commands

    async def put(self, generation_id: str, record: bytes, keep_for: timedelta) -> None:
        """Keep *record* for *keep_for*, and notify those who follow it."""
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

    async def watch(self, members: Sequence[str], look_in: timedelta) -> None:
        """Have *members* claimed after *look_in*, unless they are watched again."""
        await self._run(scripts.WATCH_GENERATIONS, [_milliseconds(look_in), *members])

    async def claim(self, at_most: int, look_again_in: timedelta) -> list[str]:
        """Return members that are due; they are due again after *look_again_in*."""
        args = [_milliseconds(look_again_in), at_most]
        found = await self._run(scripts.CLAIM_GENERATIONS, args)
        return [member.decode() for member in found]

    async def unwatch(self, member: str) -> None:
        """Remove *member* from those that are claimed."""
        await self._commands.execute("ZREM", keys.OPEN_GENERATIONS, member)

    async def _run(self, script: Script, args: Sequence[str | int]) -> Any:
        try:
            return await self._commands.run(script, [keys.OPEN_GENERATIONS], [*args])
        except CacheFull as error:
            raise CacheUnavailable("The cache is full.") from error

    async def get(self, generation_id: str) -> bytes | None:
        """Return the record, or None."""
        found = await self._commands.execute("GET", keys.generation(generation_id))
        return cast("bytes | None", found)


def _milliseconds(duration: timedelta) -> int:
    return max(0, round(duration.total_seconds() * 1000))
