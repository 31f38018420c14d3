"""Jobs: what is written down of a painting so that it outlives its leader."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

    from app.generation.painting import Progress


@dataclass(frozen=True, slots=True)
class SubmittedJob:
    """A job that a vendor has taken on, and will be paid for.

    *model* is the alias that it was submitted under, *id* the adapter's own
    text for it, *begun_at* a wall-clock time: the next leader may be another
    machine. *paid_as* is under what its price is reserved (`JournalEntry`).
    """

    model: str
    id: str
    begun_at: datetime
    paid_as: str = ""


class JobKeeper(Protocol):
    """Where the job of one prompt is kept until the painting has ended.

    It belongs to the prompt and not to its leader. Whoever commits the
    picture or remembers the failure forgets the job with the same step.
    """

    @property
    def left(self) -> SubmittedJob | None:
        """The job that a former leader has left, to be waited for."""
        ...

    async def keep(self, job: SubmittedJob) -> bool:
        """Keep *job* in place of any other; False, never an error, if that failed."""
        ...


class Unkept:
    """A `JobKeeper` for paintings that nobody could go on with."""

    left = None

    async def keep(self, job: SubmittedJob) -> bool:  # noqa: ARG002 - it keeps none
        """Keep nothing."""
        return False


class JobHandle:
    """The `Job` of one call to the model *alias*.

    *left* is a job of that model to go on with. *id* is that of the job as it
    runs, None as long as there is none; *is_kept* says that another leader
    would find it.
    """

    def __init__(
        self,
        alias: str,
        *,
        progress: Progress,
        keeper: JobKeeper,
        left: SubmittedJob | None = None,
    ) -> None:
        self._alias = alias
        self._progress = progress
        self._keeper = keeper
        self.left = left
        self.id = left.id if left else None
        self.paid_as = left.paid_as if left else ""
        self.is_kept = left is not None
        self.on_begun: Callable[[], None] | None = None

    @property
    def resumed(self) -> str | None:
        """The adapter's own id of the job that was left."""
        return self.left.id if self.left else None

    async def begun(self, job_id: str) -> None:
        """Keep the job, so that whoever leads next goes on with it."""
        # Known first: cancelled while it is being kept, the job has an owner.
        self.id = job_id
        if self.on_begun is not None:
            self.on_begun()
        self.is_kept = await self._keeper.keep(
            SubmittedJob(self._alias, job_id, datetime.now(UTC), self.paid_as)
        )

    async def progressed(self, fraction: float) -> None:
        """Show how much is done; a vendor that counts backwards is not believed."""
        seen = self._progress.fraction or 0.0
        self._progress.fraction = max(seen, min(1.0, fraction))
