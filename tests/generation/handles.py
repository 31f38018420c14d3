"""Job handles for tests of adapters, and a keeper that remembers."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from app.generation.jobs import JobHandle, SubmittedJob
from app.generation.painting import Progress

if TYPE_CHECKING:
    from collections.abc import Callable

    from app.generation.provider import ImageProvider, PaintRequest


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


def a_job(
    keeper: RecordingKeeper | None = None, progress: Progress | None = None
) -> JobHandle:
    """Return the handle of a call to the model `default`."""
    keeper = keeper or RecordingKeeper()
    return JobHandle(
        "default", progress=progress or Progress(), keeper=keeper, left=keeper.left
    )


def left_behind(job_id: str, *, seconds_ago: float = 1.0) -> SubmittedJob:
    """Return a job that a former leader of the model `default` submitted."""
    begun_at = datetime.now(UTC) - timedelta(seconds=seconds_ago)
    return SubmittedJob("default", job_id, begun_at)


async def picture_by(provider: ImageProvider, request: PaintRequest) -> bytes:
    """Return the bytes that *provider* paints, in a call of its own."""
    return (await provider.paint(request, a_job())).data


class Unheard:
    """A `PaintObserver` that nobody listens to."""

    def provider_call(
        self, provider: str, model: str, outcome: str, seconds: float, price: float
    ) -> None:
        """Count nothing."""

    def job_resumed(self, model: str) -> None:
        """Count nothing."""

    def watch(self, model: str, **looks: Callable[[], float]) -> None:
        """Look nowhere."""
