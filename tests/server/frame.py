"""A small application inside the real frame, on a real socket."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from aiohttp import web

from app.server.frame import install
from app.server.lifecycle import Lifecycle
from app.server.listener import bind, listening
from app.telemetry import Metrics

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from app.server.listener import Listener


@dataclass(frozen=True)
class Frame:
    """The running application and what stands around it."""

    listener: Listener
    metrics: Metrics
    lifecycle: Lifecycle

    @property
    def port(self) -> int:
        """Where it listens."""
        return self.listener.port

    def url(self, path: str) -> str:
        """Return the address of *path*."""
        return f"http://127.0.0.1:{self.port}{path}"

    def count(self, name: str, **labels: str) -> float | None:
        """Return the value of a series, or None where it does not exist."""
        return self.metrics._registry.get_sample_value(name, labels)


@dataclass(frozen=True)
class Answer:
    """An answer as it stood on the wire."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def problem(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)


@asynccontextmanager
async def framed(
    *routes: web.RouteDef, write_deadline_seconds: float = 10.0
) -> AsyncIterator[Frame]:
    """Run an application with *routes* and the settings of production."""
    app = web.Application()
    app.add_routes(routes)
    metrics, lifecycle = Metrics(), Lifecycle()
    install(app, metrics=metrics, lifecycle=lifecycle)
    async with listening(
        app, bind("127.0.0.1", 0), write_deadline_seconds=write_deadline_seconds
    ) as listener:
        yield Frame(listener, metrics, lifecycle)


class Wire:
    """A connection of which every byte is ours."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.reader = reader
        self.writer = writer

    async def send(self, data: bytes) -> None:
        """Put *data* on the wire."""
        self.writer.write(data)
        await self.writer.drain()

    async def answer(self, *, to_head: bool = False) -> Answer:
        """Read one answer, and nothing of what follows it."""
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode()
        first, *lines = head.rstrip().split("\r\n")
        headers = {
            name.lower(): value for name, _, value in (x.partition(": ") for x in lines)
        }
        length = 0 if to_head else int(headers.get("content-length", 0))
        body = await self.reader.readexactly(length)
        return Answer(int(first.split()[1]), headers, body)

    async def ask(self, request: bytes) -> Answer:
        """Send *request* and read its answer."""
        await self.send(request)
        return await self.answer()

    async def is_closed(self) -> bool:
        """Wait for the server's end of the connection; true if no byte came."""
        async with asyncio.timeout(10):
            return await self.reader.read() == b""


@asynccontextmanager
async def wire(port: int) -> AsyncIterator[Wire]:
    """Open a connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield Wire(reader, writer)
    finally:
        writer.transport.abort()


def get(path: str, *headers: str, method: str = "GET") -> bytes:
    """Write down a request."""
    lines = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", *headers]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()
