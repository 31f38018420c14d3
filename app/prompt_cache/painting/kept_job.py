"""A provider's job where the next leader finds it: beside the prompt's lease."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import orjson

from app.errors import CacheUnavailable
from app.generation.jobs import Maker, SubmittedJob

if TYPE_CHECKING:
    from app.prompt_cache.flight.leases import Lease
    from app.storage.ports.prompt_index import PromptIndex
    from app.storage.storage_key import Project

# Longer than vendors keep what a job has made.
KEPT_FOR = timedelta(hours=24)


@dataclass(frozen=True, slots=True)
class KeptJob:
    """The `JobKeeper` of one painting.

    It goes with the commit of the picture, the failure that is remembered, or
    the purge: all three are scripts that remove it.
    """

    index: PromptIndex
    lease: Lease
    project: Project
    left: SubmittedJob | None

    @classmethod
    async def of(cls, index: PromptIndex, lease: Lease, project: Project) -> KeptJob:
        """Look for what a former leader has left; raises `CacheUnavailable`."""
        found = await index.job(lease.prompt_hash)
        return cls(index, lease, project, job_of(project, found))

    async def keep(self, job: SubmittedJob) -> bool:
        """Keep *job* under the lease; False, never an error, if that failed."""
        try:
            return await self.index.keep_job(
                self.lease.prompt_hash,
                self.lease.token,
                _to_bytes(self.project, job),
                KEPT_FOR,
            )
        except CacheUnavailable:
            return False

    async def drop(self) -> None:
        """Remove the job that was left; without Redis it runs out by itself."""
        with suppress(CacheUnavailable):
            await self.index.drop_job(self.lease.prompt_hash, self.lease.token)


def job_of(project: Project, kept: bytes | None) -> SubmittedJob | None:
    """Return the job of *project* that was kept, or None."""
    if kept is None:
        return None
    fields = orjson.loads(kept)
    if fields.pop("project") != str(project):
        return None
    fields["begun_at"] = datetime.fromisoformat(fields["begun_at"])
    fields["maker"] = Maker(*fields["maker"])
    return SubmittedJob(**fields)


def _to_bytes(project: Project, job: SubmittedJob) -> bytes:
    return orjson.dumps(
        {
            "project": str(project),
            "model": job.model,
            "maker": list(job.maker),
            "id": job.id,
            "begun_at": job.begun_at,
            "price": job.price,
            "paid_as": job.paid_as,
        }
    )
