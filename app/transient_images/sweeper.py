"""The sweeper: bytes that no account counts any more are discarded.

The accounts are right without it, since every script that reads them takes out
what is due; it only gives memory back, and finishes what died half-way.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import TYPE_CHECKING

from app.background import running
from app.errors import CacheUnavailable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from app.storage.ports.transient_store import TransientStore

logger = logging.getLogger(__name__)

EVERY = timedelta(seconds=1)


@asynccontextmanager
async def sweeping(
    store: TransientStore, *, every: timedelta = EVERY
) -> AsyncIterator[None]:
    """Sweep *store* as long as the context is open; any number of replicas may."""
    async with running(_sweep(store, every), name="transient-sweeper"):
        yield


async def _sweep(store: TransientStore, every: timedelta) -> None:
    while True:
        try:
            while await store.sweep():
                pass
        except CacheUnavailable:
            # The requests that failed have logged it already.
            pass
        except Exception:
            logger.exception("sweep failed")
        await asyncio.sleep(every.total_seconds())
