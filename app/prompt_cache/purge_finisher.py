"""Finishes the purges and refreshes that are written down, asked or not."""

from __future__ import annotations

import asyncio
import logging
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from app.background import running
from app.errors import NotFound, ServiceError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from app.prompt_cache.entry.ledger import Ledger
    from app.prompt_cache.purge import Purge
    from app.storage.storage_key import Project

logger = logging.getLogger(__name__)

# What was begun is finished within a minute.
LOOKS_EVERY_SECONDS = 15.0
_AT_ONCE = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class PurgeFinisher:
    """Looks at what is written down, as long as its context is open."""

    purge: Purge
    ledger: Ledger
    every_seconds: float = LOOKS_EVERY_SECONDS

    @asynccontextmanager
    async def finishing(self) -> AsyncIterator[None]:
        """Finish what others have left, again and again."""
        async with running(self._keep_finishing(), name="purge-finisher"):
            yield

    async def look(self) -> None:
        """Finish every purge that is written down and that no replica works on.

        Raises `StorageUnavailable` where it can't be listed.
        """
        at_once = asyncio.Semaphore(_AT_ONCE)

        async def finish(project: Project, prompt_hash: str) -> None:
            # Its lease is held, or there is an outage: the next look finishes it.
            async with at_once:
                with suppress(NotFound, ServiceError):
                    await self.purge.finish(project, prompt_hash)
                    logger.info("purge finished", extra={"prompt_hash": prompt_hash})

        async with asyncio.TaskGroup() as tasks:
            async for project, prompt_hash in self.ledger.noted_purges():
                tasks.create_task(finish(project, prompt_hash))

    async def _keep_finishing(self) -> None:
        while True:
            try:
                await self.look()
            except* ServiceError:
                pass
            except* Exception:
                logger.exception("purges are not finished")
            await asyncio.sleep(self.every_seconds)
