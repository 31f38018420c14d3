"""Nginx with a client before it and stand-ins for two replicas behind it."""

from __future__ import annotations

import asyncio
import hashlib
import random
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import aiohttp
from aiohttp import web
from yarl import URL

from tests.deploy.name_server import name_server
from tests.deploy.reverse_proxy import ReverseProxy, reverse_proxy
from tests.servers import free_port

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]

LONGEST_TARGET = 65_536
MIB = 1024 * 1024


@dataclass
class Replica:
    """A stand-in for one replica: records requests and answers as the test sets it."""

    name: str
    host: str = "127.0.0.1"
    port: int = 0
    answer: Answer | None = None
    targets: list[str] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    connections: set[object] = field(default_factory=set)
    was_asked: asyncio.Event = field(default_factory=asyncio.Event)
    runner: web.AppRunner | None = None

    async def start(self) -> None:
        """Listen at the same address as before."""
        app = web.Application(client_max_size=64 * MIB)
        app.router.add_route("*", "/{path:.*}", self._serve)
        self.runner = web.AppRunner(
            app, max_line_size=LONGEST_TARGET + 64, shutdown_timeout=1.0
        )
        await self.runner.setup()
        await web.TCPSite(self.runner, self.host, self.port, backlog=1024).start()

    async def stop(self) -> None:
        """Close the listener and every connection; a second time does nothing."""
        if self.runner:
            await self.runner.cleanup()
            self.runner = None

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        self.targets.append(f"{request.method} {request.raw_path}")
        self.headers.append(dict(request.headers))
        self.connections.add(request.transport)
        self.was_asked.set()
        if self.answer:
            return await self.answer(request)
        digest = hashlib.sha256(await request.read()).hexdigest()
        return web.Response(text=self.name, headers={"X-Body-Digest": digest})


@dataclass
class Door:
    """Two replicas, nginx in front of them, and a client."""

    nginx: ReverseProxy
    replicas: tuple[Replica, Replica]
    client: aiohttp.ClientSession

    def url(self, target: str) -> URL:
        """Return the address of *target*, with its bytes unchanged."""
        return URL(self.nginx.url + target, encoded=True)

    def both(self, answer: Answer) -> None:
        """Make both replicas answer with *handler*."""
        for replica in self.replicas:
            replica.answer = answer

    def seen(self) -> list[str]:
        """Return method and target of every request that reached a replica."""
        return self.replicas[0].targets + self.replicas[1].targets


def addresses(count: int) -> list[str]:
    """Return free addresses of this machine."""
    net = f"127.{random.randint(1, 254)}.{random.randint(0, 254)}"
    return [f"{net}.{number}" for number in range(1, count + 1)]


@asynccontextmanager
async def open_door() -> AsyncIterator[Door]:
    """Start two replicas that answer with their names, and nginx in front."""
    (one, two), port = addresses(2), free_port()
    first, second = Replica("one", one, port), Replica("two", two, port)
    try:
        await first.start()
        await second.start()
        async with (
            name_server({"paintonce": [one, two]}) as (_, where),
            reverse_proxy(
                *(f"{one}:{port}", f"{two}:{port}"),
                every=f"paintonce:{port}",
                name_server=where,
            ) as nginx,
            aiohttp.ClientSession(
                timeout=aiohttp.ClientTimeout(total=20), max_line_size=LONGEST_TARGET
            ) as client,
        ):
            yield Door(nginx, (first, second), client)
    finally:
        await first.stop()
        await second.stop()
