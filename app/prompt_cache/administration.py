"""Entries as their owners manage them: list, look at, refresh."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from app.errors import NotFound, StorageUnavailable
from app.prompt_cache.entry.entry import PromptEntry
from app.prompt_cache.painting.overlap import Overlaps, now
from app.prompt_cache.painting.work import Refresh

if TYPE_CHECKING:
    from app.generation.spending import Permit
    from app.prompt_cache.entry.ledger import Ledger
    from app.prompt_cache.flight.flights import Flights
    from app.prompt_cache.flight.result import FlightResult
    from app.prompt_cache.painting.painter import Painter
    from app.prompt_cache.statistics import Cursor, Statistics
    from app.storage.ports.prompt_index import PromptIndex, SeenRecord
    from app.storage.storage_key import Project


@dataclass(frozen=True, slots=True)
class SeenEntry:
    """An entry that was looked at, uncounted."""

    entry: PromptEntry
    hits: int
    last_accessed_at: datetime | None

    def as_json(self) -> dict[str, Any]:
        """Return the entry as the contract has it."""
        entry = self.entry
        return {
            "prompt_hash": entry.prompt_hash,
            "prompt": entry.parameters.prompt,
            "model": entry.model,
            "price": entry.price,
            "parameters": entry.parameters.as_json(),
            "hits": self.hits,
            "last_accessed_at": self.last_accessed_at,
            "created_at": entry.created_at,
            "image_id": entry.image_id,
            "storage_key": str(entry.storage_key),
            "content_type": entry.media_type,
            "size": entry.size,
            "width": entry.width,
            "height": entry.height,
            "provenance": entry.provenance.as_json(),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptEntries:
    """The entries of all projects; each method sees only one project's own."""

    index: PromptIndex
    ledger: Ledger
    painter: Painter
    refreshes: Flights[FlightResult]
    statistics: Statistics

    async def page(
        self, project: Project, *, by_hits: bool, after: Cursor | None, limit: int
    ) -> tuple[list[SeenEntry], Cursor | None]:
        """Return entries, the latest or the most hit first, and where to go on."""
        cursors = await self.statistics.page(
            str(project), by_hits=by_hits, after=after, limit=limit
        )
        records = await self.index.peek([cursor.prompt_hash for cursor in cursors])
        seen = [
            _seen(cursor.prompt_hash, record)
            for cursor, record in zip(cursors, records, strict=True)
        ]
        known = [entry for entry in seen if entry is not None]
        for cursor, entry in zip(cursors, seen, strict=True):
            if entry is None:
                await self._take_off_the_list(project, cursor.prompt_hash)
        return known, cursors[-1] if len(cursors) == limit else None

    async def _take_off_the_list(self, project: Project, prompt_hash: str) -> None:
        """Take a prompt off the list that the ledger does not have either."""
        with suppress(StorageUnavailable):
            if await self.ledger.read(project, prompt_hash) is None:
                self.statistics.removed(project, prompt_hash, 0)

    async def get(self, project: Project, prompt_hash: str) -> SeenEntry:
        """Return one entry, from Redis or from the ledger; raises `NotFound`."""
        (record,) = await self.index.peek([prompt_hash])
        seen = _seen(prompt_hash, record)
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


def _seen(prompt_hash: str, record: SeenRecord | None) -> SeenEntry | None:
    """Return what was looked at; None where it is not there, or can't be read."""
    if record is None:
        return None
    entry = PromptEntry.from_record(prompt_hash, record.record)
    if entry is None:
        return None
    at_ms = record.last_accessed_ms
    return SeenEntry(
        entry,
        record.hits,
        datetime.fromtimestamp(at_ms / 1000, UTC) if at_ms is not None else None,
    )
