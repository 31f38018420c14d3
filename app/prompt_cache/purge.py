"""Purge: everything that a prompt became goes, and nothing can bring it back.

It is written down in the ledger first. Then the manifest goes: from then on
nothing can be restored. Then entry, count and failure go in one script; then
the pictures and their renditions; the note goes last. A purge belongs to the
service, and what was begun is finished by some replica, asked or not.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

import orjson

from app.errors import CacheUnavailable, NotFound, StillGenerating
from app.prompt_cache.entry.entry import PromptEntry
from app.prompt_cache.flight.leases import generation_of, writes_for
from app.prompt_cache.flight.remembered_failures import belongs_to, is_hold
from app.prompt_cache.painting.counted_permit import CountedPermit
from app.prompt_cache.purge_note import PurgeNote
from app.storage.storage_key import StorageKey

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from typing import Any

    from app.generation.jobs import SubmittedJob
    from app.generation.models import Models
    from app.generation.spending import PaidAlready
    from app.prompt_cache.entry.ledger import Ledger, Manifest
    from app.prompt_cache.flight.leases import Lease, Leases
    from app.prompt_cache.generations.generations import Generations
    from app.prompt_cache.painting.left_jobs import LeftJobs
    from app.prompt_cache.painting.pictures import Pictures
    from app.prompt_cache.statistics import Statistics
    from app.storage.ports.prompt_index import PromptIndex
    from app.storage.storage_key import Project

WAITS_SECONDS = 2.0

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class _Found:
    """The stored objects of a prompt; *job* is one that its leader has left."""

    manifest: Manifest | None
    entry: PromptEntry | None
    note: PurgeNote
    has_note: bool
    has_failure: bool
    job: SubmittedJob | None

    @property
    def is_anything(self) -> bool:
        """Whether a purge has anything to remove."""
        return bool(
            self.manifest
            or self.entry
            or self.has_note
            or self.note
            or self.has_failure
            or self.job
        )

    @property
    def entries(self) -> list[PromptEntry]:
        """The entries that manifest and Redis name."""
        named = (self.manifest.entry if self.manifest else None, self.entry)
        return [entry for entry in named if entry is not None]

    def whole(self) -> PurgeNote:
        """Return the note of a purge of all that there is."""
        named = {str(entry.storage_key): entry.size for entry in self.entries}
        is_damaged = self.manifest is not None and self.manifest.entry is None
        return PurgeNote(
            named | self.note.pictures, is_damaged=is_damaged or self.note.is_damaged
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Purge:
    """Purges prompts, one at a time, under their lease."""

    index: PromptIndex
    left_jobs: LeftJobs
    leases: Leases
    ledger: Ledger
    pictures: Pictures
    statistics: Statistics
    generations: Generations
    models: Models
    paid_already: Callable[[Project], PaidAlready]
    waits_seconds: float = WAITS_SECONDS
    _tasks: set[asyncio.Task[Any]] = field(default_factory=set)

    async def owned(self, work: Coroutine[Any, Any, _T]) -> _T:
        """Return the result of *work*, which goes on when its caller leaves."""
        task = asyncio.create_task(work, name="purge")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return await asyncio.shield(task)

    async def drain(self) -> None:
        """Return when every purge that was begun has ended."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    async def run(self, project: Project, prompt_hash: str) -> None:
        """Remove what a prompt of *project* became.

        Raises `NotFound` where nothing was, `StillGenerating` while a painting
        runs for longer than *waits_seconds*, and `Unavailable` errors.
        """
        if not await self._is_own(project, prompt_hash):
            # Nor is its lease asked for: it may be the prompt of another one.
            raise NotFound("There is no such entry.")
        async with self.leases.writing(
            project, prompt_hash, wait_seconds=self.waits_seconds, frees=True
        ) as lease:
            found = await self._found(project, prompt_hash)
            if not found.is_anything:
                raise NotFound("There is no such entry.")
            note = found.whole()
            if note:
                await self.ledger.note_purge(project, prompt_hash, note)
            await self._remove(project, lease, found, note)
            await self._forget(project, lease, found, note)
            await self._sweep(project, lease, found, note)

    async def finish(self, project: Project, prompt_hash: str) -> None:
        """Finish what is written down of a prompt, and nothing else.

        What was painted since stays. Raises like `run`.
        """
        async with self.leases.writing(project, prompt_hash, frees=True) as lease:
            found = await self._found(project, prompt_hash)
            if not found.has_note:
                raise NotFound("Nothing of it is left.")
            await self._remove(project, lease, found, found.note)
            if any(_is_named(entry, found.note) for entry in found.entries):
                await self._forget(project, lease, found, found.note)
            await self._sweep(project, lease, found, found.note)

    async def _remove(
        self, project: Project, lease: Lease, found: _Found, note: PurgeNote
    ) -> None:
        """Remove the manifest that *note* names."""
        manifest = found.manifest
        if manifest is None:
            return
        if manifest.entry is None:
            is_named = note.is_damaged
        else:
            is_named = _is_named(manifest.entry, note)
        if is_named:
            await lease.confirm()
            await self.ledger.forget_manifest(project, lease.prompt_hash)

    async def _forget(
        self, project: Project, lease: Lease, found: _Found, note: PurgeNote
    ) -> None:
        """Remove what Redis and this replica know of the prompt."""
        prompt_hash = lease.prompt_hash
        left = orjson.dumps(note.pictures)
        if not await self.index.forget(prompt_hash, lease.token, left):
            raise StillGenerating("Another replica writes about this prompt.")
        if found.job is not None:
            paid = CountedPermit(self.paid_already(project), self.statistics, project)
            await self.models.abandon(found.job, paid)
        for entry in found.entries:
            self.pictures.forget(entry)
        # A prompt has one picture at a time: that one's bytes were counted.
        sizes = [entry.size for entry in found.entries] or [*note.purged.values(), 0]
        self.statistics.removed(project, prompt_hash, sizes[0])
        await self.statistics.apply_if_possible()

    async def _sweep(
        self, project: Project, lease: Lease, found: _Found, note: PurgeNote
    ) -> None:
        """Remove the pictures with their renditions, and then the note."""
        manifest = found.manifest.entry if found.manifest else None
        for text in note.pictures:
            is_current = manifest is not None and str(manifest.storage_key) == text
            if is_current and text not in note.purged:
                # The refresh that was to replace it came to nothing.
                continue
            await self.ledger.forget_image(StorageKey.parse(text))
        if note:
            await self.ledger.forget_purge(project, lease.prompt_hash)
        # Nothing is left, whether Redis goes on saying so or not.
        with suppress(CacheUnavailable):
            await self.index.finish(lease.prompt_hash, lease.token)

    async def _is_own(self, project: Project, prompt_hash: str) -> bool:
        (record,) = await self.index.peek([prompt_hash])
        seen = PromptEntry.from_record(prompt_hash, record.record) if record else None
        if seen is not None:
            return seen.project == project
        found = await self._found(project, prompt_hash)
        return found.is_anything or await self._is_written(project, prompt_hash)

    async def _found(self, project: Project, prompt_hash: str) -> _Found:
        manifest, (record,), failed, kept, noted, left_job = await asyncio.gather(
            self.ledger.read(project, prompt_hash),
            self.index.peek([prompt_hash]),
            self.index.remembered(prompt_hash),
            self.index.left(prompt_hash),
            self.ledger.noted_purge(project, prompt_hash),
            self.left_jobs.of(project, prompt_hash),
        )
        submitted = left_job.job if left_job else None
        seen = PromptEntry.from_record(prompt_hash, record.record) if record else None
        note = noted or PurgeNote()
        if kept is not None:
            left = PurgeNote.from_bytes(project, kept).purged
            note = PurgeNote(left | note.purged, note.replaced, note.is_damaged)
        return _Found(
            manifest,
            seen if seen is not None and seen.project == project else None,
            note,
            noted is not None,
            failed is not None
            and belongs_to(project, failed.failure)
            and not is_hold(failed.failure),
            submitted,
        )

    async def _is_written(self, project: Project, prompt_hash: str) -> bool:
        """Return whether a lease of *project* on the prompt is held."""
        holder = await self.index.holder(prompt_hash)
        if holder is None:
            return False
        generation_id = generation_of(holder)
        if generation_id is None:
            return writes_for(project, holder)
        return await self.generations.find(project, generation_id) is not None


def _is_named(entry: PromptEntry, note: PurgeNote) -> bool:
    return str(entry.storage_key) in note.purged
