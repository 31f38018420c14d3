"""A warning at the start, where transient images can fill the cache.

A Redis without memory takes no leases: four projects that fill their quotas
would stop all painting where nothing bounds the sum.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from app.errors import CacheUnavailable

logger = logging.getLogger(__name__)

_ASK_AGAIN_SECONDS = 1.0


async def warn_unless_bounded(
    max_memory: Callable[[], Awaitable[int | None]], total_bytes: int | None
) -> None:
    """Ask the cache for its bound; warn where *total_bytes* is none below it."""
    while True:
        try:
            most = await max_memory()
        except CacheUnavailable:
            await asyncio.sleep(_ASK_AGAIN_SECONDS)
        else:
            break
    if most and (total_bytes is None or total_bytes >= most):
        logger.warning(
            "transient images may fill redis",
            extra={"maxmemory": most, "transient_total_bytes": total_bytes or 0},
        )
