"""Purge: everything that a prompt became goes, and nothing can bring it back.

The manifest goes first: from then on nobody restores anything. Then entry,
count and note go in one script, which keeps what is left to be removed; then
the pictures. A purge that was interrupted can be repeated, and finishes.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import orjson

from app.errors import (
    CacheUnavailable,
    InvalidStorageKey,
    NotFound,
    StillGenerating,
    StorageUnavailable,
)
from app.prompt_cache.entry.entry import PromptEntry
from app.prompt_cache.flight.leases import generation_of, writes_for
from app.prompt_cache.flight.remembered_failures import belongs_to, is_hold
from app.prompt_cache.painting.kept_job import JobNote
from app.storage.storage_key import StorageKey

if TYPE_CHECKING:
    from collections.abc import Callable

    from app.generation.jobs import SubmittedJob
    from app.generation.models import Models
    from app.generation.spending import PaidAlready
    from app.prompt_cache.entry.ledger import Ledger
    from app.prompt_cache.flight.leases import Lease, Leases
    from app.prompt_cache.generations.generations import Generations
    from app.prompt_cache.painting.pictures import Pictures
    from app.prompt_cache.statistics import Statistics
    from app.storage.ports.prompt_index import PromptIndex
    from app.storage.storage_key import Project

WAITS_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class _Left:
    """What there is of a prompt, and to be removed.

    *pictures* are storage keys with their bytes; *has_note* says that the
    ledger has an interrupted purge's; *job* is one that its leader has left.
    """

    has_manifest: bool
    entries: tuple[PromptEntry, ...]
    pictures: dict[str, int]
    has_note: bool
    job: SubmittedJob | None
    is_anything: bool

    @property
    def counted_bytes(self) -> int:
        """What the statistics have counted: a prompt has one picture at a time."""
        return next(iter(self.pictures.values()), 0)

    def to_bytes(self) -> bytes:
        """Return what a purge that comes after this one must know."""
        return orjson.dumps(self.pictures)


@dataclass(frozen=True, slots=True, kw_only=True)
class Purge:
    """Purges prompts, one at a time, under their lease."""

    index: PromptIndex
    leases: Leases
    ledger: Ledger
    pictures: Pictures
    statistics: Statistics
    generations: Generations
    models: Models
    paid_already: Callable[[Project], PaidAlready]
    waits_seconds: float = WAITS_SECONDS

    async def run(self, project: Project, prompt_hash: str) -> None:
        """Remove what a prompt of *project* became.

        Raises `NotFound` where nothing was, `StillGenerating` while a painting
        runs for longer than *waits_seconds*, and what is away.
        """
        if not await self._is_own(project, prompt_hash):
            # Nor is its lease asked for: it may be the prompt of another one.
            raise NotFound("There is no such entry.")
        async with self.leases.writing(
            project, prompt_hash, wait_seconds=self.waits_seconds
        ) as lease:
            left = await self._left(project, prompt_hash)
            if not left.is_anything:
                raise NotFound("There is no such entry.")
            await self._remove(project, lease, left)

    async def _remove(self, project: Project, lease: Lease, left: _Left) -> None:
        prompt_hash = lease.prompt_hash
        if left.has_manifest:
            await lease.confirm()
            await self.ledger.forget_manifest(project, prompt_hash)
        try:
            if not await self.index.forget(prompt_hash, lease.token, left.to_bytes()):
                raise StillGenerating("Another replica writes about this prompt.")
        except CacheUnavailable:
            # It may come back empty, and nobody would know of the picture.
            with suppress(StorageUnavailable):
                await self.ledger.note_purge(project, prompt_hash, left.to_bytes())
            raise
        if left.job is not None:
            cost = await self.models.abandon(left.job, self.paid_already(project))
            self.statistics.spent(str(project), cost)
        for entry in left.entries:
            self.pictures.forget(entry)
        self.statistics.removed(project, prompt_hash, left.counted_bytes)
        await self.statistics.apply_if_possible()
        for key in left.pictures:
            await self.ledger.forget_image(StorageKey.parse(key))
        if left.has_note:
            await self.ledger.forget_purge(project, prompt_hash)
        # Nothing is left, whether Redis goes on saying so or not.
        with suppress(CacheUnavailable):
            await self.index.finish(prompt_hash, lease.token)

    async def _is_own(self, project: Project, prompt_hash: str) -> bool:
        (record,) = await self.index.peek([prompt_hash])
        seen = PromptEntry.from_record(prompt_hash, record.record) if record else None
        if seen is not None:
            return seen.project == project
        left = await self._left(project, prompt_hash)
        return left.is_anything or await self._is_written(project, prompt_hash)

    async def _left(self, project: Project, prompt_hash: str) -> _Left:
        manifest, (record,), failed, kept, noted, job = await asyncio.gather(
            self.ledger.read(project, prompt_hash),
            self.index.peek([prompt_hash]),
            self.index.remembered(prompt_hash),
            self.index.left(prompt_hash),
            self.ledger.noted_purge(project, prompt_hash),
            self.index.job(prompt_hash),
        )
        noted_job = JobNote.of(project, job)
        submitted = noted_job.job if noted_job else None
        seen = PromptEntry.from_record(prompt_hash, record.record) if record else None
        known = (manifest.entry if manifest else None, seen)
        entries = tuple(entry for entry in known if entry and entry.project == project)
        pictures = {str(entry.storage_key): entry.size for entry in entries}
        pictures |= _own(project, kept) | _own(project, noted)
        is_failed = (
            failed is not None
            and belongs_to(project, failed.failure)
            and not is_hold(failed.failure)
        )
        return _Left(
            manifest is not None,
            entries,
            pictures,
            noted is not None,
            submitted,
            bool(manifest or pictures or is_failed or submitted or noted is not None),
        )

    async def _is_written(self, project: Project, prompt_hash: str) -> bool:
        """Say whether somebody writes about the prompt for *project*."""
        holder = await self.index.holder(prompt_hash)
        if holder is None:
            return False
        generation_id = generation_of(holder)
        if generation_id is None:
            return writes_for(project, holder)
        return await self.generations.find(project, generation_id) is not None


def _own(project: Project, left: bytes | None) -> dict[str, int]:
    """Return the pictures of *project* that an interrupted purge has left."""
    own = {}
    for key, size in (orjson.loads(left) if left else {}).items():
        with suppress(InvalidStorageKey):
            if StorageKey.parse(key).project == project:
                own[key] = size
    return own
