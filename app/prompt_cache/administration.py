"""The entries of a project: looked at without counting, and refreshed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from app.errors import NotFound
from app.prompt_cache.painting.overlap import Overlaps, now
from app.prompt_cache.painting.work import Refresh
from app.prompt_cache.seen_entry import SeenEntry

if TYPE_CHECKING:
    from app.generation.spending import Permit
    from app.prompt_cache.entry.ledger import Ledger
    from app.prompt_cache.flight.flights import Flights
    from app.prompt_cache.flight.result import FlightResult
    from app.prompt_cache.painting.painter import Painter
    from app.storage.ports.prompt_index import PromptIndex
    from app.storage.storage_key import Project


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptEntries:
    """The entries of all projects; each method sees only one project's own."""

    index: PromptIndex
    ledger: Ledger
    painter: Painter
    refreshes: Flights[FlightResult]

    async def get(self, project: Project, prompt_hash: str) -> SeenEntry:
        """Return one entry, from Redis or from the ledger; raises `NotFound`."""
        (record,) = await self.index.peek([prompt_hash])
        seen = SeenEntry.of(prompt_hash, record)
        if seen is not None:
            if seen.entry.project != project:
                raise NotFound("There is no such entry.")
            if not self.index.doubts:
                return seen
        manifest = await self.ledger.read(project, prompt_hash)
        if manifest is None or manifest.entry is None:
            raise NotFound("There is no such entry.")
        if seen is not None and seen.entry.image_id == manifest.entry.image_id:
            return seen
        return SeenEntry(manifest.entry, 0, None)

    async def refresh(
        self,
        project: Project,
        prompt_hash: str,
        *,
        permit: Permit,
        wait_seconds: float,
        wants_id: bool = False,
    ) -> SeenEntry:
        """Paint again and replace; the old picture is served until then.

        Refreshes that overlap, on any replica, are one payment. Waits and
        raises like `get_or_generate`.
        """
        arrived_at = now()
        seen = await self.get(project, prompt_hash)
        _, result = await self.refreshes.join(
            Refresh(seen.entry.key, self.painter, permit, seen.entry, arrived_at),
            wait_seconds=wait_seconds,
            wants_id=wants_id,
        )
        refreshed = await self.get(project, prompt_hash)
        if result is not None and result.generation_id is not None:
            overlaps = Overlaps(self.index)
            await overlaps.answered(prompt_hash, result.generation_id)
        return refreshed
