"""Generations: their records are written, found, and each of them ends."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

from app.background import running
from app.errors import CacheUnavailable
from app.prompt_cache.generations.record import (
    NEVER_RAN_REMEMBERED_FOR,
    REMEMBERED_FOR,
    GenerationRecord,
    OpenGeneration,
    never_ran,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from datetime import timedelta

    from app.generation.painting import Progress
    from app.storage.ports.generations import GenerationStore
    from app.storage.storage_key import Project, StorageKey

LOOK_EVERY_SECONDS = 0.1
BEATS_A_LEASE = 3


class Generations:
    """Writes and finds the records.

    Each replica repeats, three times a lease, which of its generations have not
    ended. One that is not repeated for a lease is claimed by another replica, and
    ended by it: see `LeftBehind`.
    """

    def __init__(
        self, store: GenerationStore, *, timeout: timedelta, lease_for: timedelta
    ) -> None:
        self._store = store
        self._keep_for = timeout + REMEMBERED_FOR
        self._lease_for = lease_for
        self._own: set[str] = set()

    async def find(
        self, project: Project, generation_id: str
    ) -> GenerationRecord | None:
        """Return a project's own generation, or None."""
        found = await self._store.get(generation_id)
        record = GenerationRecord.from_bytes(found) if found else None
        return record if record and record.project == str(project) else None

    async def promise(self, record: GenerationRecord) -> None:
        """Write the record of a generation whose id a caller is given.

        Raises `CacheUnavailable`: no caller gets an id without a record.
        """
        await self._store.put(record.generation_id, record.to_bytes(), self._keep_for)
        await self._watch_over(record)

    @asynccontextmanager
    async def recorded(
        self, record: GenerationRecord, progress: Progress
    ) -> AsyncIterator[GenerationRecord]:
        """Write the record as it changes, as long as the context is open."""
        await asyncio.gather(self._write(record), self._watch_over(record))
        done = asyncio.Event()
        watching = asyncio.create_task(
            self._follow(record, progress, done), name="generation-record"
        )
        try:
            yield record
        finally:
            # Not cancelled: a write under way could arrive after that of the end.
            done.set()
            await asyncio.wait([watching])

    async def end(
        self,
        record: GenerationRecord,
        *,
        image: tuple[str, StorageKey] | None = None,
        error: BaseException | None = None,
        is_named: bool = False,
    ) -> None:
        """Write how the generation ended, once `recorded` is closed.

        *image* is the id of the picture and where it lies, None for a failure.
        *is_named* says that a caller has been given the generation's id.
        """
        record.end(image, error)
        is_brief = never_ran(error) and not is_named
        keep_for = NEVER_RAN_REMEMBERED_FOR if is_brief else REMEMBERED_FOR
        await self._write(record, keep_for)
        await self.close(OpenGeneration.of(record))

    async def leave(self, generation: OpenGeneration, look_in: timedelta) -> None:
        """Leave a generation to another replica, which looks at it after *look_in*."""
        self._own.discard(str(generation))
        with suppress(CacheUnavailable):
            await self._store.watch([str(generation)], look_in)

    async def claimed(self, at_most: int) -> list[OpenGeneration]:
        """Return generations whose replica is silent, to this one for a lease."""
        found = await self._store.claim(at_most, self._lease_for)
        return [
            OpenGeneration.parse(member) for member in found if member not in self._own
        ]

    async def close(self, generation: OpenGeneration) -> None:
        """Remove a generation that has ended from those that are claimed."""
        self._own.discard(str(generation))
        with suppress(CacheUnavailable):
            await self._store.unwatch(str(generation))

    @asynccontextmanager
    async def kept_alive(self) -> AsyncIterator[None]:
        """Keep our generations from being claimed as long as the context is open."""
        async with running(self._keep_alive(), name="open-generations"):
            yield

    async def _keep_alive(self) -> None:
        while True:
            await asyncio.sleep(self._lease_for.total_seconds() / BEATS_A_LEASE)
            if self._own:
                with suppress(CacheUnavailable):
                    await self._store.watch(sorted(self._own), self._lease_for)

    async def _watch_over(self, record: GenerationRecord) -> None:
        member = str(OpenGeneration.of(record))
        self._own.add(member)
        with suppress(CacheUnavailable):
            await self._store.watch([member], self._lease_for)

    async def _follow(
        self, record: GenerationRecord, progress: Progress, done: asyncio.Event
    ) -> None:
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK_EVERY_SECONDS):
                    await done.wait()
                return
            # Once it runs it never waits again: fall-backs and storing are part of it.
            runs = progress.is_running or record.state == "running"
            seen = (
                "running" if runs else "queued",
                None if runs else progress.queue_position,
                progress.fraction,
            )
            if seen != (record.state, record.queue_position, record.progress):
                record.state, record.queue_position, record.progress = seen
                await self._write(record)

    async def _write(
        self, record: GenerationRecord, keep_for: timedelta | None = None
    ) -> None:
        with suppress(CacheUnavailable):
            await self._store.put(
                record.generation_id, record.to_bytes(), keep_for or self._keep_for
            )
