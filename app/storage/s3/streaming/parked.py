"""GETs that are left in the middle for a moment, for whoever reads on there."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from app.storage.s3.streaming.body import S3Body

    # Key, tag and the next byte.
    Place = tuple[str, str, int]

# Whoever takes longer for a window is a slow reader.
LEFT_OPEN_SECONDS = 0.1


class ParkedStreams:
    """At most one GET for each place; it is closed if nobody takes it in time."""

    def __init__(self) -> None:
        self._left: dict[Place, tuple[S3Body, asyncio.TimerHandle]] = {}

    def leave(self, place: Place, body: S3Body) -> bool:
        """Leave *body*; False, and it stays the caller's, if there is one already."""
        if place in self._left:
            return False
        loop = asyncio.get_running_loop()
        timer = loop.call_later(LEFT_OPEN_SECONDS, self.give_up, place)
        self._left[place] = body, timer
        return True

    def take(self, place: Place, *, at_least: int) -> S3Body | None:
        """Return what was left at *place*, if that many bytes of it are left."""
        found = self._left.get(place)
        if found is None or found[0].left < at_least:
            return None
        body, timer = self._left.pop(place)
        timer.cancel()
        return body

    def give_up(self, place: Place) -> None:
        """Close what was left at *place*, if anything was."""
        if place in self._left:
            body, timer = self._left.pop(place)
            timer.cancel()
            body.close()

    def give_up_oldest(self) -> None:
        """Close what has been left for the longest time, if anything was."""
        for place in self._left:
            self.give_up(place)
            break

    def close(self) -> None:
        """Close everything."""
        for place in list(self._left):
            self.give_up(place)
