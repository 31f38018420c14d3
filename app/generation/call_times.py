"""CallTimes: how long the calls of one model take, from its last successes."""

from __future__ import annotations

import math
from collections import deque

_SAMPLES = 50
_PERCENTILE = 0.9
_MARGIN = 1.1
# Below 1, or a model whose calls take all of their time could begin none.
_MAX_PART = 0.95


class CallTimes:
    """The time that a call needs, and the time that it usually takes, in seconds.

    *longest_seconds* is the smaller of the model's deadline and the time of a
    whole generation. Until a call has succeeded, half of it is *needed*, and
    *median* is None.
    """

    def __init__(self, longest_seconds: float) -> None:
        self._longest = longest_seconds
        self._last: deque[float] = deque(maxlen=_SAMPLES)
        self.needed = longest_seconds / 2
        self.median: float | None = None

    def add(self, seconds: float) -> None:
        """Count a successful call of *seconds*."""
        self._last.append(seconds)
        ordered = sorted(self._last)
        percentile = ordered[math.ceil(_PERCENTILE * len(ordered)) - 1]
        self.needed = min(_MARGIN * percentile, _MAX_PART * self._longest)
        self.median = ordered[len(ordered) // 2]
