"""Jobs: the record of a painting that outlives its leader."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum, auto
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

    from app.generation.painting import Progress

# For a last look at the deadline, and for a result that comes at the last moment.
LAST_LOOK_SECONDS = 5.0


class Maker(NamedTuple):
    """The maker of a job: the vendor, its own id of the model, and the origin."""

    vendor: str
    model: str
    origin: str

    def is_reached_by(self, other: Maker) -> bool:
        """Return whether *other* has the address, and so the key, of this one."""
        return (self.vendor, self.origin) == (other.vendor, other.origin)


@dataclass(frozen=True, slots=True)
class SubmittedJob:
    """A job that a vendor has taken on, and will be paid for.

    *model* is the alias that it was submitted under and *maker* what that meant
    then, *id* the adapter's own text for it, *begun_at* a wall-clock time: the
    next leader may be another machine. *price* is reserved under *paid_as*
    (`JournalEntry`).
    """

    model: str
    maker: Maker
    id: str
    begun_at: datetime
    price: float
    paid_as: str = ""


class JobKeeper(Protocol):
    """The record of one prompt's job, kept until the painting has ended.

    It belongs to the prompt and not to its leader. The commit of the picture, or the
    memory of the failure, removes the job in the same step.
    """

    @property
    def left(self) -> SubmittedJob | None:
        """The job that a former leader has left, to be waited for."""
        ...

    async def keep(self, job: SubmittedJob) -> bool:
        """Keep *job* in place of any other; False, never an error, if that failed."""
        ...

    async def drop(self) -> None:
        """Remove the job that was left: it is cancelled. Never fails."""
        ...


class Unkept:
    """A `JobKeeper` for paintings that no other leader could go on with."""

    left = None

    async def keep(self, job: SubmittedJob) -> bool:  # noqa: ARG002 - it keeps none
        """Keep nothing."""
        return False

    async def drop(self) -> None:
        """Remove nothing."""


class JobState(Enum):
    """The state of a job, as its vendor reported it last."""

    RUNNING = auto()
    SUCCEEDED = auto()
    ENDED = auto()  # without a picture


class JobHandle:
    """The `Job` of one call to the model *alias*.

    *left* is a job of that model to go on with. *id* is that of the job as it
    runs, None as long as there is none; *is_kept* says that another leader
    would find it, *has_run* that the vendor has begun to paint.
    """

    def __init__(
        self,
        alias: str,
        *,
        maker: Maker,
        price: float,
        progress: Progress,
        keeper: JobKeeper,
        left: SubmittedJob | None = None,
    ) -> None:
        self._alias = alias
        self._maker = maker
        self.price = left.price if left else price
        self._progress = progress
        self._keeper = keeper
        self._limit: asyncio.Timeout | None = None
        self.deadline = float("inf")
        self.state = JobState.RUNNING
        self.has_run = False
        self.left = left
        self.id = left.id if left else None
        self.paid_as = left.paid_as if left else ""
        self.is_kept = left is not None
        self.on_begun: Callable[[], None] = _nothing

    @property
    def resumed(self) -> str | None:
        """The adapter's own id of the job that was left."""
        return self.left.id if self.left else None

    def time(self, deadline: float, limit: asyncio.Timeout) -> None:
        """Set when the call looks for the last time; *limit* ends it soon after."""
        self._limit = limit
        if self.id is None:
            self.deadline = deadline
        else:
            self._extend(deadline)

    async def begun(self, job_id: str) -> None:
        """Keep the job, so that the next leader goes on with it."""
        # Known first: cancelled while it is being kept, the job has an owner.
        self.id = job_id
        self._extend(self.deadline)
        self.on_begun()
        self.is_kept = await self._keeper.keep(
            SubmittedJob(
                self._alias,
                self._maker,
                job_id,
                datetime.now(UTC),
                self.price,
                self.paid_as,
            )
        )

    async def progressed(self, fraction: float) -> None:
        """Show how much is done; a vendor that counts backwards is not believed."""
        self.has_run = True
        seen = self._progress.fraction or 0.0
        if fraction > 0:
            self._progress.fraction = max(seen, min(1.0, fraction))

    def succeeded(self) -> None:
        """Note that the picture is made, and leave time to fetch it."""
        self.state, self.has_run = JobState.SUCCEEDED, True
        now = asyncio.get_running_loop().time()
        self._extend(max(self.deadline, now + LAST_LOOK_SECONDS))

    def ended(self) -> None:
        """Note that the vendor has ended the job without a picture."""
        self.state = JobState.ENDED

    def _extend(self, deadline: float) -> None:
        self.deadline = deadline
        if self._limit is not None and not self._limit.expired():
            self._limit.reschedule(deadline + LAST_LOOK_SECONDS)


def _nothing() -> None:
    """Do nothing."""
