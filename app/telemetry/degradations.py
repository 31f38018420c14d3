"""Degradations: requests that were served without a part, counted and logged."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from app.telemetry.metrics import Metrics

logger = logging.getLogger(__name__)

LOG_EVERY_SECONDS = 60.0


class Degradations:
    """Counts in *metrics*; of each kind one record a minute is in the log."""

    def __init__(
        self, metrics: Metrics, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._metrics = metrics
        self._clock = clock
        self._logged_at: dict[str, float] = {}

    def note(self, what: str) -> None:
        """Count one of `DEGRADATIONS`, and log it where the last record is old."""
        self._metrics.degraded(what)
        now = self._clock()
        last = self._logged_at.get(what)
        if last is None or now - last >= LOG_EVERY_SECONDS:
            self._logged_at[what] = now
            logger.warning("requests are degraded", extra={"what": what})
