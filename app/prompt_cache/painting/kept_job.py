"""A provider's job where the next leader finds it: beside the prompt's lease."""

from __future__ import annotations

import logging
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import orjson

from app.errors import CacheUnavailable
from app.generation.jobs import Maker, SubmittedJob
from app.prompt_cache.entry.prompt_key import Parameters, PromptKey

if TYPE_CHECKING:
    from app.prompt_cache.flight.leases import Lease
    from app.prompt_cache.painting.assignment import Assignment
    from app.storage.ports.prompt_index import PromptIndex
    from app.storage.storage_key import Project

logger = logging.getLogger(__name__)

# Longer than vendors keep what a job has made.
KEPT_FOR = timedelta(hours=24)
FIRST_PAUSE = timedelta(seconds=30)


@dataclass(frozen=True, slots=True)
class JobNote:
    """The note of a job: enough to finish its painting without a request.

    *generation_id* is the generation that submitted it, *replaces* the id of
    the picture that a refresh is to replace.
    """

    key: PromptKey
    generation_id: str
    replaces: str | None
    job: SubmittedJob

    def to_bytes(self) -> bytes:
        """Return the note as Redis keeps it."""
        job = self.job
        return orjson.dumps(
            {
                "project": str(self.key.project),
                "parameters": self.key.parameters.as_json(),
                "generation_id": self.generation_id,
                "replaces": self.replaces,
                "model": job.model,
                "maker": list(job.maker),
                "id": job.id,
                "begun_at": job.begun_at,
                "price": job.price,
                "paid_as": job.paid_as,
            }
        )

    @classmethod
    def of(cls, project: Project, kept: bytes | None) -> JobNote | None:
        """Read the form of `to_bytes`; None for no note, or another project's.

        One that an older release has written does not say enough: it is as if
        there were none.
        """
        try:
            fields = orjson.loads(kept) if kept else {}
            if fields.get("project") != str(project):
                return None
            job = SubmittedJob(
                fields["model"],
                Maker(*fields["maker"]),
                fields["id"],
                datetime.fromisoformat(fields["begun_at"]),
                fields["price"],
                fields["paid_as"],
            )
            key = PromptKey(project, Parameters.from_json(fields["parameters"]))
            return cls(key, fields["generation_id"], fields["replaces"], job)
        except (KeyError, TypeError, ValueError):
            logger.warning("note of a job is unreadable")
            return None


@dataclass(slots=True)
class KeptJob:
    """The `JobKeeper` of one painting.

    Its note goes with the commit of the picture, the failure that is
    remembered, or the purge: all three are scripts that remove it.
    *is_there* says that the next leader would find it.
    """

    index: PromptIndex
    lease: Lease
    key: PromptKey
    generation_id: str
    replaces: str | None
    left: SubmittedJob | None
    is_there: bool
    submitted: SubmittedJob | None = None

    @classmethod
    def of(
        cls, index: PromptIndex, assignment: Assignment, found: JobNote | None
    ) -> KeptJob:
        """Return the keeper of a painting that goes on with the job it *found*."""
        left = found.job if found else None
        return cls(
            index,
            assignment.lease,
            assignment.key,
            assignment.flight.generation_id,
            assignment.replaces,
            left,
            left is not None,
        )

    async def keep(self, job: SubmittedJob) -> bool:
        """Keep *job* under the lease; False, never an error, if that failed."""
        self.submitted = job
        note = JobNote(self.key, self.generation_id, self.replaces, job)
        try:
            self.is_there = await self.index.keep_job(
                self.lease.prompt_hash, self.lease.token, note.to_bytes(), KEPT_FOR
            )
        except CacheUnavailable:
            self.is_there = False
        return self.is_there

    def fetched_again_in(self) -> timedelta:
        """Return when to fetch again what can't be fetched now: later each time."""
        job = self.left or self.submitted
        age = datetime.now(UTC) - job.begun_at if job else FIRST_PAUSE
        return max(age, FIRST_PAUSE)

    async def drop(self) -> None:
        """Remove the job that was left; without Redis it runs out by itself."""
        self.left, self.is_there = None, False
        with suppress(CacheUnavailable):
            await self.index.drop_job(self.lease.prompt_hash, self.lease.token)
