"""Entries as their owners manage them: list, look at, purge, refresh."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from app.errors import NotFound, StillGenerating
from app.prompt_cache.entry.entry import PromptEntry
from app.prompt_cache.flight.flights import WRITER
from app.prompt_cache.flight.leases import Lease
from app.prompt_cache.flight.remembered_failures import belongs_to
from app.prompt_cache.painting.commit import FlightResult
from app.storage.ports.prompt_index import Leading

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from app.generation.spending import SpendPermit
    from app.prompt_cache.entry.ledger import Ledger, Manifest
    from app.prompt_cache.flight.flights import Flight, Flights
    from app.prompt_cache.painting.painter import Painter
    from app.prompt_cache.painting.pictures import Pictures
    from app.prompt_cache.statistics import Place, Statistics
    from app.storage.ports.prompt_index import CompletionEvents, PromptIndex, SeenRecord
    from app.storage.storage_key import Project

PURGE_WAITS_SECONDS = 2.0


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
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptEntries:
    """The entries of all projects; each method sees only one project's own."""

    index: PromptIndex
    completions: CompletionEvents
    ledger: Ledger
    pictures: Pictures
    painter: Painter
    refreshes: Flights[FlightResult]
    statistics: Statistics
    lease_for: timedelta
    purge_waits_seconds: float = PURGE_WAITS_SECONDS

    async def page(
        self, project: Project, *, by_hits: bool, after: Place | None, limit: int
    ) -> tuple[list[SeenEntry], Place | None]:
        """Return entries, the latest or the most hit first, and where to go on."""
        places = await self.statistics.page(
            str(project), by_hits=by_hits, after=after, limit=limit
        )
        records = await self.index.peek([place.prompt_hash for place in places])
        seen = [
            _seen(place.prompt_hash, record)
            for place, record in zip(places, records, strict=True)
        ]
        known = [entry for entry in seen if entry is not None]
        return known, places[-1] if len(places) == limit else None

    async def get(self, project: Project, prompt_hash: str) -> SeenEntry:
        """Return one entry, from Redis or from the ledger; raises `NotFound`."""
        (record,) = await self.index.peek([prompt_hash])
        seen = _seen(prompt_hash, record)
        if seen is not None:
            if seen.entry.project == project:
                return seen
            raise NotFound("There is no such entry.")
        manifest = await self.ledger.read(project, prompt_hash)
        if manifest is None or manifest.entry is None:
            raise NotFound("There is no such entry.")
        return SeenEntry(manifest.entry, 0, None)

    async def purge(self, project: Project, prompt_hash: str) -> None:
        """Remove entry, manifest, picture and remembered failure, under the lease.

        Raises `NotFound` where none of them was, `StillGenerating` while a
        painting runs for longer than *purge_waits_seconds*.
        """
        async with self._lease(prompt_hash) as lease:
            manifest = await self.ledger.read(project, prompt_hash)
            known = await self._known_entries(project, prompt_hash, manifest)
            failed = await self.index.remembered(prompt_hash)
            is_failed = failed is not None and belongs_to(project, failed.failure)
            if manifest is None and not known and not is_failed:
                raise NotFound("There is no such entry.")
            # The manifest first: what remains after a crash is an entry whose
            # picture is there, and a purge that can be repeated.
            await self.ledger.forget_manifest(project, prompt_hash)
            if await self.index.forget(prompt_hash, lease.token) is None:
                raise StillGenerating("Another replica writes about this prompt.")
            for entry in known:
                self.pictures.forget(entry)
                self.statistics.removed(entry)
            await self.statistics.apply_if_possible()
            for entry in known:
                await self.ledger.forget_image(entry.storage_key)

    async def refresh(
        self,
        project: Project,
        prompt_hash: str,
        *,
        permit: SpendPermit,
        wait_seconds: float,
    ) -> SeenEntry:
        """Paint again and replace; the old picture is served until then.

        Refreshes that overlap, on any replica, are one payment: whoever gets
        the lease after another's refresh finds another picture than it was
        asked to replace, and takes it. Raises like `get_or_generate`.
        """
        seen = await self.get(project, prompt_hash)

        async def acquire(token: str) -> object:
            return await self.index.remembered(prompt_hash) or await self.index.hold(
                prompt_hash, token, self.lease_for
            )

        async def lead(flight: Flight[FlightResult], lease: Lease) -> FlightResult:
            manifest = await self.ledger.read(project, prompt_hash)
            if manifest is None:
                raise NotFound("The entry was purged.")
            current = manifest.entry
            if (
                current is not None
                and current.image_id != seen.entry.image_id
                # Written once more, in case that one died before it had: the
                # entry would go on with the old picture, refresh by refresh.
                and await self.painter.restore(current, lease)
            ):
                return FlightResult(current)
            return await self.painter.paint(
                seen.entry.key, flight, lease, manifest, permit, is_served=True
            )

        await self.refreshes.join(prompt_hash, lead, acquire, wait_seconds=wait_seconds)
        return await self.get(project, prompt_hash)

    async def _known_entries(
        self, project: Project, prompt_hash: str, manifest: Manifest | None
    ) -> list[PromptEntry]:
        (record,) = await self.index.peek([prompt_hash])
        entries = [manifest.entry] if manifest and manifest.entry else []
        seen = _seen(prompt_hash, record)
        if seen is not None:
            if seen.entry.project != project:
                raise NotFound("There is no such entry.")
            if all(seen.entry.image_id != other.image_id for other in entries):
                entries.append(seen.entry)
        return entries

    @asynccontextmanager
    async def _lease(self, prompt_hash: str) -> AsyncIterator[Lease]:
        lease = Lease(self.index, prompt_hash, f"{WRITER}{uuid4()}", self.lease_for)
        deadline = time.monotonic() + self.purge_waits_seconds
        with self.completions.expect(prompt_hash) as completion:
            while not isinstance(await lease.hold(), Leading):
                remaining = deadline - time.monotonic()
                if remaining <= 0:
                    raise StillGenerating("A painting of this prompt is under way.")
                await completion.wait(min(remaining, 0.25))
        try:
            yield lease
        finally:
            await asyncio.shield(lease.release())


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
