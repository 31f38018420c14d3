"""The proxy fails as the fault tests need."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from tests.servers.tcp_proxy import TcpProxy

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@pytest.fixture
async def wire() -> AsyncIterator[TcpProxy]:
    """Put a proxy in front of a server that echoes in capitals."""

    async def shout(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            writer.write(line.upper())
        writer.close()

    server = await asyncio.start_server(shout, "127.0.0.1", 0)
    async with server, TcpProxy(server.sockets[0].getsockname()[1]) as proxy:
        yield proxy


@asynccontextmanager
async def connected(wire: TcpProxy) -> AsyncIterator[Connection]:
    """Connect through the proxy."""
    reader, writer = await asyncio.open_connection("127.0.0.1", wire.port)
    try:
        yield reader, writer
    finally:
        writer.transport.abort()


async def ask(connection: Connection, line: bytes) -> bytes:
    """Send a line and return the reply."""
    reader, writer = connection
    writer.write(line)
    return await reader.readline()


async def test_it_forwards_in_both_directions(wire: TcpProxy) -> None:
    """Without a fault the proxy forwards both directions, half-closed too."""
    async with connected(wire) as connection:
        assert await ask(connection, b"a lighthouse\n") == b"A LIGHTHOUSE\n"
        connection[1].write_eof()
        assert await connection[0].read() == b""


async def test_it_refuses_until_it_is_healed(wire: TcpProxy) -> None:
    """`refuse` resets open connections and refuses new ones until `heal`."""
    async with connected(wire) as connection:
        await ask(connection, b"a lighthouse\n")
        await wire.refuse()
        with pytest.raises(ConnectionResetError):
            await connection[0].read()
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", wire.port)
    await wire.heal()

    async with connected(wire) as connection:
        assert await ask(connection, b"a storm\n") == b"A STORM\n"


async def test_it_cuts_what_is_open(wire: TcpProxy) -> None:
    """`cut` resets open connections and not later ones."""
    async with connected(wire) as connection:
        await ask(connection, b"a lighthouse\n")
        await wire.cut()
        with pytest.raises(ConnectionResetError):
            await connection[0].read()
    async with connected(wire) as connection:
        assert await ask(connection, b"a storm\n") == b"A STORM\n"


async def test_what_a_freeze_held_back_arrives_after_it(wire: TcpProxy) -> None:
    """Data held back by a freeze arrive after `heal`."""
    async with connected(wire) as connection:
        wire.freeze()
        answer = asyncio.create_task(ask(connection, b"a lighthouse\n"))
        done, _ = await asyncio.wait([answer], timeout=0.2)
        assert not done
        await wire.heal()

        assert await answer == b"A LIGHTHOUSE\n"


async def test_it_delays(wire: TcpProxy) -> None:
    """`delay` delays each direction."""
    loop = asyncio.get_running_loop()
    wire.delay(0.1)
    async with connected(wire) as connection:
        started = loop.time()
        assert await ask(connection, b"a lighthouse\n") == b"A LIGHTHOUSE\n"

    assert loop.time() - started >= 0.2


async def test_a_swallowed_reply_is_lost_and_the_next_is_not(wire: TcpProxy) -> None:
    """`swallow_replies` drops one reply and not the next."""
    async with connected(wire) as connection:
        await ask(connection, b"a lighthouse\n")
        wire.swallow_replies(1)
        connection[1].write(b"a storm\n")
        done, _ = await asyncio.wait(
            [reply := asyncio.create_task(connection[0].readline())], timeout=0.2
        )
        assert not done
        connection[1].write(b"a calm\n")

        assert await reply == b"A CALM\n"


async def test_a_swallowed_reply_can_break_the_connection(wire: TcpProxy) -> None:
    """`swallow_replies` can reset the connection."""
    async with connected(wire) as connection:
        wire.swallow_replies(1, then_cut=True)
        with pytest.raises(ConnectionResetError):
            await ask(connection, b"a lighthouse\n")
