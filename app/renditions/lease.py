"""The lease of a rendition: one replica at a time makes it.

It saves work and decides nothing: a replica that loses it stores the same picture
once more. Without Redis each replica makes its own. A Redis that hangs is not waited
for, since others wait for their turn behind this one.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from hashlib import sha256
from typing import TYPE_CHECKING
from uuid import uuid4

from app.background import running
from app.errors import CacheUnavailable, ProviderFailed
from app.storage.ports.prompt_index import FailedBefore, Following

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from app.storage.ports.prompt_index import CompletionEvents, PromptIndex

RENEWALS_A_LEASE = 3
POLL_SECONDS = 0.25
REDIS_WITHIN_SECONDS = 0.5
# What can't be decoded will not be decodable in a minute.
REMEMBER_FAILURE_FOR = timedelta(seconds=600)


class RenditionLease:
    """The right to make one rendition; *name* is that of the picture and its own.

    It lies where a prompt's lease does, under a hash that is no prompt's.
    """

    def __init__(
        self,
        name: str,
        *,
        index: PromptIndex,
        completions: CompletionEvents,
        lease_for: timedelta,
    ) -> None:
        self._hash = sha256(f"rendition {name}".encode()).hexdigest()
        self._token = f"r-{uuid4()}"
        self._index = index
        self._completions = completions
        self._lease_for = lease_for

    async def acquire(self) -> bool:
        """Return whether we hold it, or Redis is unavailable and no replica does.

        Raises `ProviderFailed` as another replica has found the picture.
        """
        try:
            async with asyncio.timeout(REDIS_WITHIN_SECONDS):
                verdict = await self._index.acquire(
                    self._hash, self._token, self._lease_for
                )
        except (CacheUnavailable, TimeoutError):
            return True
        if isinstance(verdict, FailedBefore):
            raise ProviderFailed(
                verdict.failure.decode(), retry_after=verdict.remaining
            )
        return not isinstance(verdict, Following)

    async def news(self) -> None:
        """Return when its holder has ended, or after a moment."""
        with self._completions.expect(self._hash) as completion:
            await completion.wait(POLL_SECONDS)

    async def remember(self, failure: str) -> None:
        """Have every replica raise *failure* for a while; releases the lease."""
        with suppress(CacheUnavailable):
            await self._index.fail(
                self._hash, self._token, failure.encode(), REMEMBER_FAILURE_FOR
            )

    @asynccontextmanager
    async def kept(self) -> AsyncIterator[None]:
        """Renew it as long as the context is open, and release it after."""
        try:
            async with running(self._renew(), name="rendition-lease"):
                yield
        finally:
            await asyncio.shield(self._release())

    async def _renew(self) -> None:
        while True:
            await asyncio.sleep(self._lease_for.total_seconds() / RENEWALS_A_LEASE)
            with suppress(CacheUnavailable):
                await self._index.renew(self._hash, self._token, self._lease_for)

    async def _release(self) -> None:
        with suppress(CacheUnavailable, TimeoutError):
            async with asyncio.timeout(REDIS_WITHIN_SECONDS):
                await self._index.release(self._hash, self._token)
