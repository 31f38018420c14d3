"""Restorations: entries that Redis lost are written again from their manifests."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from app.errors import StillGenerating
from app.single_flight import SingleFlight

if TYPE_CHECKING:
    from app.generation.spending import Permit
    from app.prompt_cache.entry.ledger import Ledger
    from app.prompt_cache.entry.prompt_key import PromptKey
    from app.prompt_cache.flight.leases import Leases
    from app.prompt_cache.painting.commit import Committer
    from app.storage.ports.prompt_index import PromptIndex

RESTORING_TIMEOUT_SECONDS = 2.0


@dataclass(frozen=True, kw_only=True)
class Restorations:
    """The restorations of this replica, at most one at a time for each prompt."""

    index: PromptIndex
    leases: Leases
    ledger: Ledger
    visitors_ledger: Ledger
    committer: Committer
    _running: SingleFlight[str, bool] = field(default_factory=SingleFlight)

    async def restore(self, key: PromptKey, permit: Permit) -> bool:
        """Write the entry of a prompt that only the ledger knows.

        Returns whether it is there. Calls that come meanwhile share the next try.
        """
        return await self._running.share_next(
            key.hash, partial(self._restore, key, permit)
        )

    async def _restore(self, key: PromptKey, permit: Permit) -> bool:
        ledger = self.visitors_ledger if permit.is_visitor else self.ledger
        if await ledger.read(key.project, key.hash) is None:
            return False
        try:
            async with self.leases.writing(
                key.project, key.hash, wait_seconds=RESTORING_TIMEOUT_SECONDS
            ) as lease:
                # The last holder of the lease may have written the entry, or purged
                # what was read before.
                if await self._is_known(key):
                    return True
                manifest = await self.ledger.read(key.project, key.hash)
                return manifest is not None and await self.committer.restore(
                    manifest.entry, lease
                )
        except StillGenerating:
            return False

    async def _is_known(self, key: PromptKey) -> bool:
        return (await self.index.peek([key.hash]))[0] is not None
