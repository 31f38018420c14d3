"""Relays connections from this machine's network into an engine's.

A process has one network: this one gets a socket that listens in the other.
"""

from __future__ import annotations

import asyncio
import socket
import sys


async def relay(listener: socket.socket, port: int) -> None:
    """Connect each client of *listener* with *port* of 127.0.0.1 in this network."""

    async def forward(
        reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", port)
        await asyncio.gather(_copy(reader, back), _copy(there, writer))

    server = await asyncio.start_server(forward, sock=listener)
    await server.serve_forever()


async def _copy(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    try:
        while piece := await source.read(65_536):
            target.write(piece)
            await target.drain()
    except ConnectionError:
        pass
    finally:
        target.close()


if __name__ == "__main__":
    asyncio.run(relay(socket.socket(fileno=int(sys.argv[1])), int(sys.argv[2])))
