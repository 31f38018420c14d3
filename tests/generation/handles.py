"""Job handles for tests of adapters, and a keeper that records them."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from app.generation.jobs import JobHandle, Maker, SubmittedJob
from app.generation.painting import Progress

if TYPE_CHECKING:
    from collections.abc import Callable

    from app.generation.provider import ImageProvider, PaintRequest


MAKER = Maker("scripted", "", "")


class RecordingKeeper:
    """A `JobKeeper` that records jobs; a *lost* one can't keep any."""

    def __init__(self, left: SubmittedJob | None = None, *, lost: bool = False) -> None:
        self.left = left
        self.kept: list[SubmittedJob] = []
        self.lost = lost
        self.has_one = asyncio.Event()

    async def keep(self, job: SubmittedJob) -> bool:
        """Record *job*."""
        self.kept.append(job)
        self.has_one.set()
        return not self.lost

    async def drop(self) -> None:
        """Record that the left job was dropped."""
        self.left = None


def a_job(
    keeper: RecordingKeeper | None = None,
    progress: Progress | None = None,
    *,
    seconds: float = 10.0,
) -> JobHandle:
    """Return the handle of a call to the model `default` with *seconds* left."""
    keeper = keeper or RecordingKeeper()
    handle = JobHandle(
        "default",
        maker=MAKER,
        price=0.04,
        progress=progress or Progress(),
        keeper=keeper,
        left=keeper.left,
    )
    handle.deadline = asyncio.get_running_loop().time() + seconds
    return handle


def left_behind(job_id: str, *, seconds_ago: float = 1.0) -> SubmittedJob:
    """Return a job that a former leader of the model `default` submitted."""
    begun_at = datetime.now(UTC) - timedelta(seconds=seconds_ago)
    return SubmittedJob("default", MAKER, job_id, begun_at, 0.04)


async def picture_by(
    provider: ImageProvider, request: PaintRequest, *, seconds: float = 10.0
) -> bytes:
    """Return the bytes that *provider* paints in a call with *seconds* left."""
    return (await provider.paint(request, a_job(seconds=seconds))).data


class NoObserver:
    """A `PaintObserver` that ignores everything."""

    def provider_call(
        self, provider: str, model: str, outcome: str, seconds: float, price: float
    ) -> None:
        """Ignore the call."""

    def ambiguous_end(self, model: str) -> None:
        """Ignore the end."""

    def job_resumed(self, model: str) -> None:
        """Ignore the job."""

    def watch(self, model: str, **looks: Callable[[], float]) -> None:
        """Ignore the gauges."""
