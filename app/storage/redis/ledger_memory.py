"""`LedgerMemory` in Redis."""

from __future__ import annotations

from typing import TYPE_CHECKING

from app.errors import CacheUnavailable
from app.storage.redis import keys
from app.storage.redis.client.failures import CacheFull

if TYPE_CHECKING:
    from app.storage.redis.client.connection import RedisConnection

# Replicas that start together make one ledger between them.
_PROPOSED_FOR_SECONDS = 60


class RedisLedgerMemory:
    """Two keys: the id that was seen, and the one that was proposed last."""

    def __init__(self, commands: RedisConnection) -> None:
        self._commands = commands

    async def recall(self) -> str | None:
        """Return the id, or None where no ledger was seen."""
        found = await self._commands.execute("GET", keys.LEDGER)
        return None if found is None else str(found.decode())

    async def remember(self, ledger_id: str) -> None:
        """Keep the id unless there is one."""
        await self._set(keys.LEDGER, ledger_id, "NX")

    async def replace(self, ledger_id: str) -> None:
        """Keep the id in place of any other."""
        await self._set(keys.LEDGER, ledger_id)

    async def propose(self, ledger_id: str) -> str:
        """Return the id that a new ledger gets: the first one that was proposed."""
        key = keys.PROPOSED_LEDGER
        await self._set(key, ledger_id, "NX", "EX", _PROPOSED_FOR_SECONDS)
        found = await self._commands.execute("GET", key)
        return ledger_id if found is None else str(found.decode())

    async def _set(self, *arguments: str | int) -> None:
        try:
            await self._commands.execute("SET", *arguments)
        except CacheFull as error:
            raise CacheUnavailable("The cache is full.") from error
