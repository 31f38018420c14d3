"""Job handles for tests of adapters, and a keeper that remembers."""

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
    """A `JobKeeper` that remembers; one that is *lost* can keep nothing."""

    def __init__(self, left: SubmittedJob | None = None, *, lost: bool = False) -> None:
        self.left = left
        self.kept: list[SubmittedJob] = []
        self.lost = lost
        self.has_one = asyncio.Event()

    async def keep(self, job: SubmittedJob) -> bool:
        """Remember *job*."""
        self.kept.append(job)
        self.has_one.set()
        return not self.lost

    async def drop(self) -> None:
        """Remember that what was left is not waited for."""
        self.left = None


def a_job(
    keeper: RecordingKeeper | None = None,
    progress: Progress | None = None,
    *,
    seconds: float = 10.0,
) -> JobHandle:
    """Return the handle of a call to the model `default`, which has *seconds*."""
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
    """Return the bytes that *provider* paints, in a call that has *seconds*."""
    return (await provider.paint(request, a_job(seconds=seconds))).data


class Unheard:
    """A `PaintObserver` that nobody listens to."""

    def provider_call(
        self, provider: str, model: str, outcome: str, seconds: float, price: float
    ) -> None:
        """Count nothing."""

    def ambiguous_end(self, model: str) -> None:
        """Count nothing."""

    def job_resumed(self, model: str) -> None:
        """Count nothing."""

    def watch(self, model: str, **looks: Callable[[], float]) -> None:
        """Look nowhere."""
