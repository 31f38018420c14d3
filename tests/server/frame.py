"""A small application in the real frame, on a real socket."""

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
    """The running application and its surroundings."""

    listener: Listener
    metrics: Metrics
    lifecycle: Lifecycle

    @property
    def port(self) -> int:
        """The port that it listens on."""
        return self.listener.port

    def url(self, path: str) -> str:
        """Return the address of *path*."""
        return f"http://127.0.0.1:{self.port}{path}"

    def count(self, name: str, **labels: str) -> float | None:
        """Return the value of a series, or None if it does not exist."""
        return self.metrics._registry.get_sample_value(name, labels)


@dataclass(frozen=True)
class Answer:
    """A response with its bytes as sent."""

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
    """A raw connection."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.reader = reader
        self.writer = writer

    async def send(self, data: bytes) -> None:
        """Send *data*."""
        self.writer.write(data)
        await self.writer.drain()

    async def answer(self, *, to_head: bool = False) -> Answer:
        """Read one response, and no byte beyond it."""
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode()
        first, *lines = head.rstrip().split("\r\n")
        headers = {
            name.lower(): value for name, _, value in (x.partition(": ") for x in lines)
        }
        length = 0 if to_head else int(headers.get("content-length", 0))
        body = await self.reader.readexactly(length)
        return Answer(int(first.split()[1]), headers, body)

    async def ask(self, request: bytes) -> Answer:
        """Send *request* and read its response."""
        await self.send(request)
        return await self.answer()

    async def is_closed(self) -> bool:
        """Wait until the server closes; return whether no byte came before."""
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
    """Return a GET request as bytes."""
    lines = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", *headers]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()
