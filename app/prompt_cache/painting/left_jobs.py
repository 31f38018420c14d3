"""The jobs that dead leaders have left, and none that has ended.

1. A job ends, and its picture is purged. 2. Redis comes back older, and the job is
there again. 3. A replica that fetches its picture serves what was purged. So while
the index has doubts about its data, the ledger has to know of the call as open.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from app.prompt_cache.painting.kept_job import JobNote

if TYPE_CHECKING:
    from collections.abc import Callable

    from app.generation.spending import PaidAlready
    from app.storage.ports.prompt_index import PromptIndex
    from app.storage.storage_key import Project

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class LeftJobs:
    """The jobs by prompt; *paid_already* knows their calls in the ledger."""

    index: PromptIndex
    paid_already: Callable[[Project], PaidAlready]

    async def of(self, project: Project, prompt_hash: str) -> JobNote | None:
        """Return the job of a prompt that goes on, None where there is none.

        Raises `CacheUnavailable`, and `StorageUnavailable` where its end is in doubt.
        """
        note = JobNote.of(project, await self.index.job(prompt_hash))
        if note is None or not self.index.doubts:
            return note
        if await self.paid_already(project).is_open(note.job.paid_as):
            return note
        # What costs nothing has no call in the ledger: it is painted once more.
        logger.info("older job passed over", extra={"prompt_hash": prompt_hash})
        return None
