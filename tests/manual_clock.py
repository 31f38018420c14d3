"""A clock that only a test advances."""

from __future__ import annotations


class ManualClock:
    """A clock of seconds that begins at 1000; a test sets `now`."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now
