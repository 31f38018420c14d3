"""How generations go, for whoever would rather ask than wait.

A record is news, not truth: it is written while Redis is there, and forgotten
an hour after its generation ended.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Protocol

import orjson

from app import urls
from app.errors import CacheUnavailable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from app.generation.painting import Progress
    from app.storage.storage_key import Project, StorageKey

logger = logging.getLogger(__name__)

REMEMBERED_FOR = timedelta(hours=1)
LOOK_EVERY_SECONDS = 0.5


class GenerationStore(Protocol):
    """Where every replica finds the records; raises `CacheUnavailable`."""

    async def put(self, generation_id: str, record: bytes, keep_for: timedelta) -> None:
        """Keep *record* for so long."""
        ...

    async def get(self, generation_id: str) -> bytes | None:
        """Return the record, or None."""
        ...


@dataclass(slots=True)
class GenerationRecord:
    """One generation: *state* is queued, running, done or failed."""

    generation_id: str
    project: str
    prompt_hash: str
    created_at: datetime
    state: str = "queued"
    queue_position: int | None = None
    elapsed_seconds: float | None = None
    image_id: str | None = None
    image_url: str | None = None
    error: dict[str, str] | None = None

    @property
    def has_ended(self) -> bool:
        """Whether nothing more will come."""
        return self.state in {"done", "failed"}

    def as_json(self) -> dict[str, Any]:
        """Return the record as the contract has it."""
        elapsed = self.elapsed_seconds
        if elapsed is None:
            elapsed = (datetime.now(UTC) - self.created_at).total_seconds()
        return {
            "generation_id": self.generation_id,
            "state": self.state,
            "prompt_hash": self.prompt_hash,
            "created_at": self.created_at,
            "elapsed_seconds": round(max(0.0, elapsed), 3),
            "queue_position": self.queue_position,
            "progress": 1.0 if self.state == "done" else None,
            "image_id": self.image_id,
            "image_url": self.image_url,
            "error": self.error,
        }


class Generations:
    """Writes and finds the records."""

    def __init__(self, store: GenerationStore, *, timeout: timedelta) -> None:
        self._store = store
        self._keep_for = timeout + REMEMBERED_FOR

    async def find(
        self, project: Project, generation_id: str
    ) -> GenerationRecord | None:
        """Return a project's own generation, or None."""
        found = await self._store.get(generation_id)
        if found is None:
            return None
        fields = orjson.loads(found)
        fields["created_at"] = datetime.fromisoformat(fields["created_at"])
        record = GenerationRecord(**fields)
        return record if record.project == str(project) else None

    @asynccontextmanager
    async def recorded(
        self, record: GenerationRecord, progress: Progress
    ) -> AsyncIterator[GenerationRecord]:
        """Write the record as it changes, as long as the context is open."""
        await self._write(record)
        done = asyncio.Event()
        watching = asyncio.create_task(
            self._watch(record, progress, done), name="generation-record"
        )
        try:
            yield record
        finally:
            # Not cancelled: a write on its way could arrive after the end's.
            done.set()
            await asyncio.wait([watching])

    async def end(
        self,
        record: GenerationRecord,
        *,
        image: tuple[str, StorageKey] | None = None,
        error: dict[str, str] | None = None,
    ) -> None:
        """Write how the generation ended, once `recorded` is closed.

        *image* is the id of the picture and where it lies, None for a failure.
        """
        record.state = "done" if image else "failed"
        record.queue_position = None
        record.elapsed_seconds = (datetime.now(UTC) - record.created_at).total_seconds()
        record.error = error
        if image is not None:
            record.image_id, storage_key = image
            record.image_url = urls.permalink(storage_key)
        await self._write(record)

    async def _watch(
        self, record: GenerationRecord, progress: Progress, done: asyncio.Event
    ) -> None:
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK_EVERY_SECONDS):
                    await done.wait()
                return
            state = "running" if progress.is_running else "queued"
            seen = (state, progress.queue_position)
            if seen != (record.state, record.queue_position):
                record.state, record.queue_position = seen
                await self._write(record)

    async def _write(self, record: GenerationRecord) -> None:
        keep_for = REMEMBERED_FOR if record.has_ended else self._keep_for
        with suppress(CacheUnavailable):
            await self._store.put(record.generation_id, orjson.dumps(record), keep_for)
