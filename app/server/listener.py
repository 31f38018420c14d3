"""Taking an address and answering on it, with the limits of production."""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import cast

from aiohttp import web

from app.server.bodies import AT_ONCE_BYTES
from app.server.connection import WRITE_DEADLINE_SECONDS, Connection
from app.server.frame import METRICS, framed, traced
from app.server.routing import by_plain_path

# Above the idle time-outs of common balancers (60 s), so that they and not we
# close idle connections. It is also the time that a request's head may take.
KEEPALIVE_SECONDS = 75.0

BACKLOG = 1024

# How long a client may take between its connection and the end of its head when
# the replica stops.
ASKING_SECONDS = 0.5

_LOOKS_EVERY_SECONDS = 0.02

# What handlers have when everything else has ended, and again once cancelled.
_LAST_ANSWERS_SECONDS = 0.1


class CannotListen(Exception):
    """The address can't be taken; the sentence is for the operator."""


class PortInUse(CannotListen):
    """Another process listens there."""


class Listener:
    """An application that answers on its *port*."""

    def __init__(
        self, server: web.Server, doors: Sequence[asyncio.Server], port: int
    ) -> None:
        self._server = server
        self._doors = doors
        self.port = port

    @property
    def connections(self) -> int:
        """The number of open connections."""
        return len(self._server.connections)

    def close(self) -> None:
        """Take no new connections; those that are open are answered."""
        for door in self._doors:
            door.close()

    async def close_connections(self) -> None:
        """Close idle connections now and the others after their answer.

        1. A connection with a request in progress is not touched: its answer
           says `Connection: close`, and ends it.
        2. Of an idle one nothing may have arrived unread, else it is answered
           first.
        3. One that was just accepted, or whose request has come in part, has a
           moment to ask.
        """
        while self.connections:
            for connection in self._server.connections:
                cast("Connection", connection).close_if_idle(
                    asking_seconds=ASKING_SECONDS
                )
            await asyncio.sleep(_LOOKS_EVERY_SECONDS)


def bind(host: str, port: int) -> list[socket.socket]:
    """Take *port* on every address of *host*; 0 takes a free one.

    No request is answered yet: a port in use is reported before anything else
    is started. Raises `PortInUse` or `CannotListen`.
    """
    try:
        addresses = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
    except (OSError, UnicodeError) as error:
        raise CannotListen(f"HOST {host} has no address.") from error
    taken: list[socket.socket] = []
    try:
        for family, kind, protocol, _, address in dict.fromkeys(addresses):
            one = socket.socket(family, kind, protocol)
            taken.append(one)
            _prepare(one)
            # The second address takes the port that was free on the first.
            one.bind((address[0], port, *address[2:]))
            port = one.getsockname()[1]
    except OSError as error:
        for one in taken:
            one.close()
        raise _refused(error, host, port) from error
    return taken


@asynccontextmanager
async def listening(
    app: web.Application,
    sockets: Sequence[socket.socket],
    *,
    write_deadline_seconds: float = WRITE_DEADLINE_SECONDS,
) -> AsyncIterator[Listener]:
    """Start *app* and answer on *sockets*, which are closed in the end.

    A client that leaves cancels its handler. A reader that stalls is cut after
    *write_deadline_seconds*. Raises `PortInUse` or `CannotListen`.
    """
    runner = web.AppRunner(
        app, handler_cancellation=True, shutdown_timeout=_LAST_ANSWERS_SECONDS
    )
    doors: list[asyncio.Server] = []
    try:
        await runner.setup()
        server = runner.server
        if server is None:
            raise RuntimeError("The application has no server.")
        routed = by_plain_path(app, server.request_handler)
        server.request_handler = traced(app, framed(app, routed))
        connection = partial(
            Connection,
            server,
            metrics=app[METRICS],
            write_deadline_seconds=write_deadline_seconds,
            loop=asyncio.get_running_loop(),
            keepalive_timeout=KEEPALIVE_SECONDS,
            tcp_keepalive=True,
            access_log=None,
            auto_decompress=False,
        )
        doors += [await _open(connection, one) for one in sockets]
        yield Listener(server, doors, sockets[0].getsockname()[1])
    finally:
        for door in doors:
            door.close()
        try:
            await runner.cleanup()
        finally:
            for one in sockets:
                one.close()


def _prepare(one: socket.socket) -> None:
    one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    # Accepted connections inherit it. Without it a kernel holds megabytes for
    # a slow reader and says only a third of them later that it takes more, so
    # that a client that reads 100 KB/s would look like one that has stalled.
    one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, AT_ONCE_BYTES)
    if one.family == socket.AF_INET6:
        one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)


async def _open(connection: partial[Connection], one: socket.socket) -> asyncio.Server:
    host, port = one.getsockname()[:2]
    loop = asyncio.get_running_loop()
    try:
        return await loop.create_server(connection, sock=one, backlog=BACKLOG)
    except OSError as error:
        raise _refused(error, host, port) from error


def _refused(error: OSError, host: str, port: int) -> CannotListen:
    if error.errno == errno.EADDRINUSE:
        return PortInUse(f"Port {port} on {host} is in use.")
    return CannotListen(f"Can't listen on {host}, port {port}: {error.strerror}.")
