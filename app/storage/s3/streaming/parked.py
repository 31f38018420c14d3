"""Paused S3 responses, kept 100 ms so that the next window can continue them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from app.storage.s3.streaming.body import S3Body

    # Key, ETag and the next byte.
    ResumePoint = tuple[str, str, int]

# A reader that takes longer for a window is a slow one.
PARKED_SECONDS = 0.1


class ParkedStreams:
    """At most one response for each resume point, closed unless resumed in time."""

    def __init__(self) -> None:
        self._parked: dict[ResumePoint, tuple[S3Body, asyncio.TimerHandle]] = {}

    def park(self, point: ResumePoint, body: S3Body) -> bool:
        """Park *body*; return False, and keep nothing, if there is one already."""
        if point in self._parked:
            return False
        loop = asyncio.get_running_loop()
        timer = loop.call_later(PARKED_SECONDS, self.give_up, point)
        self._parked[point] = body, timer
        return True

    def resume(self, point: ResumePoint, *, at_least: int) -> S3Body | None:
        """Return the response parked at *point*, if it has so many bytes to come."""
        found = self._parked.get(point)
        if found is None or found[0].left < at_least:
            return None
        body, timer = self._parked.pop(point)
        timer.cancel()
        return body

    def give_up(self, point: ResumePoint) -> None:
        """Close the response parked at *point*, if there is one."""
        if point in self._parked:
            body, timer = self._parked.pop(point)
            timer.cancel()
            body.close()

    def give_up_oldest(self) -> None:
        """Close the response that has been parked longest, if there is one."""
        for point in self._parked:
            self.give_up(point)
            break

    def close(self) -> None:
        """Close everything."""
        for point in list(self._parked):
            self.give_up(point)
