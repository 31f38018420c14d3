"""A lease that is held: renewed while the work runs, regained after a stall.

The lease saves money, it does not keep the truth: the first manifest in the
ledger does. So a lease that is lost stops nobody from finishing what was paid
for; it only makes them wait before they write.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

from app.errors import CacheUnavailable
from app.storage.ports.prompt_index import Leading

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from datetime import timedelta

    from app.storage.ports.prompt_index import CompletionEvents, PromptIndex

logger = logging.getLogger(__name__)

RENEWALS_A_LEASE = 3
RETRY_SECONDS = 0.1
POLL_SECONDS = 0.25


class Lease:
    """The right to write about one prompt, under one token."""

    def __init__(
        self, index: PromptIndex, prompt_hash: str, token: str, lease_for: timedelta
    ) -> None:
        self._index = index
        self._prompt_hash = prompt_hash
        self._lease_for = lease_for
        self.token = token

    async def _keep(self, done: asyncio.Event) -> None:
        every = self._lease_for.total_seconds() / RENEWALS_A_LEASE
        pause = every
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await done.wait()
                return
            pause = every if await self._renewed() else RETRY_SECONDS

    async def _renewed(self) -> bool:
        try:
            verdict = await self.hold()
        except CacheUnavailable:
            return False
        if not isinstance(verdict, Leading):
            logger.warning("lease lost", extra={"prompt_hash": self._prompt_hash})
        return True

    async def hold(self) -> object:
        """Take or renew the lease; the verdict is `Leading` or `Following`."""
        return await self._index.hold(self._prompt_hash, self.token, self._lease_for)

    async def regain(
        self, completions: CompletionEvents, at_most_seconds: float
    ) -> bool:
        """Return True once the lease is ours, False where it stays another's.

        Without Redis nobody can say who holds it: the ledger alone decides
        then, by its conditional create, so that counts as ours.
        """
        deadline = asyncio.get_running_loop().time() + at_most_seconds
        with completions.expect(self._prompt_hash) as completion:
            while True:
                try:
                    if isinstance(await self.hold(), Leading):
                        return True
                except CacheUnavailable:
                    return True
                if asyncio.get_running_loop().time() > deadline:
                    return False
                await completion.wait(POLL_SECONDS)

    async def release(self) -> None:
        """Let others write; without Redis the lease runs out by itself."""
        with suppress(CacheUnavailable):
            await self._index.release(self._prompt_hash, self.token)

    @asynccontextmanager
    async def kept(self) -> AsyncIterator[None]:
        """Renew the lease as long as the context is open, and at once after a failure.

        A renewal that finds the lease vacant takes it; one that finds another
        holder leaves it alone and looks again, in case that one goes. So this
        is for a painting, which asks the ledger who has won before it writes:
        whoever writes what was read before must not get a lease back unawares.
        """
        done = asyncio.Event()
        renewing = asyncio.create_task(self._keep(done), name="lease-renewal")
        try:
            yield
        finally:
            # Not cancelled: 1. a renewal is on its way. 2. The release
            # overtakes it. 3. It finds the lease vacant, and takes it for nobody.
            done.set()
            await asyncio.wait([renewing])
