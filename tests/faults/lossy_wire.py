"""A wire to Redis that loses the reply to one command, chosen by its bytes."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from app.storage.redis.client.script import Script


@dataclass
class LossyWire:
    """Forwards to *target*; the port to connect to is *port*."""

    target: int
    port: int = 0
    _marker: bytes | None = None
    _is_silent: bool = False
    _lost: asyncio.Event = field(default_factory=asyncio.Event)
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    @property
    def url(self) -> str:
        """The address in the form of `REDIS_URL`."""
        return f"redis://127.0.0.1:{self.port}/0"

    def lose_reply_to(self, script: Script, *, silent: bool = False) -> None:
        """Lose the reply to the next call of *script*, which Redis has run.

        The connection is cut with it; a *silent* wire keeps it open until the client's
        timeout.
        """
        self._lost.clear()
        self._marker, self._is_silent = script.sha.encode(), silent

    async def until_lost(self) -> None:
        """Return once the reply has been lost."""
        async with asyncio.timeout(15):
            await self._lost.wait()

    async def accept(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Serve one connection."""
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            await self._serve(reader, writer)
        # Asyncio's server would only log that a cut connection was cancelled.
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            self._tasks.discard(task)
            writer.close()

    async def _serve(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        from_there, to_there = await asyncio.open_connection("127.0.0.1", self.target)
        is_losing = asyncio.Event()
        requests = asyncio.create_task(self._requests(reader, to_there, is_losing))
        replies = asyncio.create_task(self._replies(from_there, writer, is_losing))
        try:
            await asyncio.wait([requests, replies], return_when=asyncio.FIRST_COMPLETED)
        finally:
            to_there.close()
            for direction in (requests, replies):
                direction.cancel()
            await asyncio.wait([requests, replies])

    async def _requests(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        is_losing: asyncio.Event,
    ) -> None:
        while data := await reader.read(65_536):
            if self._marker is not None and self._marker in data:
                self._marker = None
                is_losing.set()
            writer.write(data)
            await writer.drain()

    async def _replies(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        is_losing: asyncio.Event,
    ) -> None:
        while data := await reader.read(65_536):
            if is_losing.is_set():
                self._lost.set()
                if not self._is_silent:
                    return
                continue
            writer.write(data)
            await writer.drain()

    async def cut_all(self) -> None:
        """End every connection."""
        ending = list(self._tasks)
        for task in ending:
            task.cancel()
        if ending:
            await asyncio.wait(ending)


@asynccontextmanager
async def lossy_wire(target: int) -> AsyncIterator[LossyWire]:
    """Forward a free port to *target* while the context is open."""
    wire = LossyWire(target)
    server = await asyncio.start_server(wire.accept, "127.0.0.1", 0)
    wire.port = server.sockets[0].getsockname()[1]
    try:
        yield wire
    finally:
        server.close()
        await wire.cut_all()
