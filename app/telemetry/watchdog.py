"""The watchdog: notices when the event loop stands still.

A call that runs too long in the loop delays every request, renewal and deadline
of its replica. It can't be seen from inside a request, so a timer looks at how
late it fires.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from app.telemetry.metrics import Metrics

logger = logging.getLogger(__name__)

LOOK_EVERY_SECONDS = 0.1
# Below it a busy machine's scheduler does as much.
STALL_SECONDS = 0.25


async def watch_the_loop(metrics: Metrics) -> None:
    """Count every time that the loop stands still, until cancelled."""
    clock = asyncio.get_running_loop().time
    while True:
        due = clock() + LOOK_EVERY_SECONDS
        await asyncio.sleep(LOOK_EVERY_SECONDS)
        late = clock() - due
        if late >= STALL_SECONDS:
            metrics.loop_stall(late)
            logger.warning("event loop stalled", extra={"seconds": round(late, 3)})
