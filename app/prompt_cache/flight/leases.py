"""Leases: who writes about a prompt holds its lease.

A lease saves money, it does not keep the truth: the first manifest in the
ledger does. So a leader whose lease is lost still finishes what was paid for;
it only waits before it writes. Everybody else who writes, and has nothing to
lose, holds the lease by `Leases.writing`, or writes nothing.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING
from uuid import uuid4

from app.errors import CacheUnavailable, StillGenerating
from app.storage.ports.prompt_index import Following, Leading

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from datetime import timedelta

    from app.storage.ports.prompt_index import (
        CompletionEvents,
        Holding,
        PromptIndex,
        Verdict,
    )
    from app.storage.storage_key import Project
    from app.telemetry import Metrics

logger = logging.getLogger(__name__)

RENEWALS_A_LEASE = 3
RETRY_SECONDS = 0.1
POLL_SECONDS = 0.25

# What writes about a prompt without painting it holds the lease under a
# token that names its project, and no generation.
_WRITER = "w-"
_ATTEMPT = "+"


class Leases:
    """The leases of this replica."""

    def __init__(
        self,
        *,
        index: PromptIndex,
        completions: CompletionEvents,
        lease_for: timedelta,
        metrics: Metrics,
    ) -> None:
        self.index = index
        self.completions = completions
        self.lease_for = lease_for
        self.metrics = metrics

    def of_flight(self, prompt_hash: str, token: str) -> Lease:
        """Return the lease that a flight asks for under its *token*."""
        return Lease(self, prompt_hash, token)

    @asynccontextmanager
    async def writing(
        self,
        project: Project,
        prompt_hash: str,
        *,
        wait_seconds: float = 0.0,
        frees: bool = False,
    ) -> AsyncIterator[Lease]:
        """Hold the lease of a prompt of *project* while its context is open.

        Raises `StillGenerating` if another one has it for longer than
        *wait_seconds*, naming the generation if it is a painting, and
        `CacheUnavailable`. One that *frees* memory is had from a full Redis, too.
        """
        token = f"{_WRITER}{project}/{uuid4()}"
        lease = Lease(self, prompt_hash, token, frees=frees)
        try:
            holding = await lease.gain(wait_seconds)
            if isinstance(holding, Following):
                raise StillGenerating(
                    "Another request writes about this prompt.",
                    generation_id=generation_of(holding.holder),
                )
            async with lease.kept(retaking=False):
                yield lease
        finally:
            await asyncio.shield(lease.release())


class Lease:
    """The right to write about one prompt, under one token."""

    def __init__(
        self, leases: Leases, prompt_hash: str, token: str, *, frees: bool = False
    ) -> None:
        self._leases = leases
        self._index = leases.index
        self.prompt_hash = prompt_hash
        self.token = token
        self._frees = frees

    async def acquire(self) -> Verdict:
        """Take the lease for a painting, unless there is nothing to paint."""
        return await self._index.acquire(
            self.prompt_hash, self.token, self._leases.lease_for
        )

    async def hold(self) -> Holding:
        """Take or renew the lease, whatever is known of the prompt."""
        return await self._index.hold(
            self.prompt_hash, self.token, self._leases.lease_for, frees=self._frees
        )

    async def gain(self, wait_seconds: float) -> Holding:
        """Hold the lease as soon as it is free; `Following` when the time is up."""
        clock = asyncio.get_running_loop().time
        deadline = clock() + wait_seconds
        with self._leases.completions.expect(self.prompt_hash) as completion:
            while True:
                holding = await self.hold()
                remaining = deadline - clock()
                if isinstance(holding, Leading) or remaining <= 0:
                    return holding
                await completion.wait(min(remaining, POLL_SECONDS))

    async def regain(self, wait_seconds: float) -> bool:
        """Return whether the lease is ours once more, waiting for its holder to end.

        Without Redis its holder is unknown: the ledger alone decides
        then, by its conditional create, so that counts as ours.
        """
        try:
            return isinstance(await self.gain(wait_seconds), Leading)
        except CacheUnavailable:
            return True

    async def confirm(self) -> None:
        """Raise `StillGenerating` where the lease is not ours any more.

        To be called before a write where no script can compare the token.
        """
        if not await self._renew():
            raise StillGenerating("Another request writes about this prompt.")

    async def release(self) -> None:
        """Free the lease; without Redis it runs out by itself."""
        with suppress(CacheUnavailable):
            await self._index.release(self.prompt_hash, self.token)

    @asynccontextmanager
    async def kept(self, *, retaking: bool = True) -> AsyncIterator[None]:
        """Renew the lease as long as the context is open, and at once after a failure.

        *retaking* a lease that was found vacant is for a painting, which asks
        the ledger who has won before it writes. What writes data that was
        read before must not get a lease back unawares.
        """
        done = asyncio.Event()
        renewal = self._take_or_renew if retaking else self._renew
        renewing = asyncio.create_task(self._keep(done, renewal), name="lease-renewal")
        try:
            yield
        finally:
            # Not cancelled: 1. a renewal is on its way. 2. The release
            # overtakes it. 3. It finds the lease vacant, and takes it for good.
            done.set()
            await asyncio.wait([renewing])

    async def _keep(
        self, done: asyncio.Event, renewal: Callable[[], Awaitable[bool]]
    ) -> None:
        every = self._leases.lease_for.total_seconds() / RENEWALS_A_LEASE
        pause, was_ours = every, True
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await done.wait()
                return
            try:
                is_ours = await renewal()
            except CacheUnavailable:
                pause = RETRY_SECONDS
                continue
            if was_ours and not is_ours:
                self._leases.metrics.lost_lease()
                logger.warning("lease lost", extra={"prompt_hash": self.prompt_hash})
            pause, was_ours = every, is_ours

    async def _take_or_renew(self) -> bool:
        return isinstance(await self.hold(), Leading)

    async def _renew(self) -> bool:
        return await self._index.renew(
            self.prompt_hash, self.token, self._leases.lease_for
        )


def token_of(generation_id: str, attempt: str) -> str:
    """Return the token of a leader that goes on with another one's generation."""
    return f"{generation_id}{_ATTEMPT}{attempt}"


def generation_of(token: str) -> str | None:
    """Return the generation that holds a lease under *token*; None for a writer."""
    return None if token.startswith(_WRITER) else token.partition(_ATTEMPT)[0]


def writes_for(project: Project, token: str) -> bool:
    """Return whether *token* is that of a writer for *project*."""
    return token.startswith(f"{_WRITER}{project}/")
