"""A bound on the bytes of pictures in memory at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class ByteBudget:
    """A bound of *max_bytes*, or one larger holder alone; others wait."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._held = 0
        self._freed = asyncio.Event()

    @asynccontextmanager
    async def holding(self, size: int) -> AsyncIterator[None]:
        """Hold *size* bytes as long as the context is open; callers bound the wait."""
        while self._held and self._held + size > self._max_bytes:
            self._freed.clear()
            await self._freed.wait()
        self._held += size
        try:
            yield
        finally:
            self._held -= size
            self._freed.set()

    @asynccontextmanager
    async def adding(self, size: int) -> AsyncIterator[None]:
        """Hold *size* bytes more than agreed, at once: others wait the longer."""
        self._held += size
        try:
            yield
        finally:
            self._held -= size
            self._freed.set()
