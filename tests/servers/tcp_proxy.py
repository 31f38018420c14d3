"""A TCP proxy that can fail like a network."""

from __future__ import annotations

import asyncio
import socket
import struct
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from types import TracebackType

_CHUNK_BYTES = 65_536


class TcpProxy:
    """Forwards a port of its own on 127.0.0.1 to *port* there.

    It is an async context manager, used on one event loop. Faults add up until `heal`,
    which leaves the surviving connections as they are.
    """

    def __init__(self, port: int) -> None:
        self._target = port
        self._listener: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._delay_seconds = 0.0
        self._seconds_a_byte = 0.0
        self._link = asyncio.Lock()
        self._to_swallow = 0
        self._cuts_when_it_swallows = False
        self._nonsense = b""
        self.port = 0
        # How many connections were made so far.
        self.accepted = 0

    @property
    def connections(self) -> int:
        """Return the number of open connections."""
        return len(self._connections)

    async def refuse(self) -> None:
        """Refuse new connections, and cut the open ones."""
        if self._listener is not None:
            self._listener.close()
            self._listener = None
        await self.cut()

    async def cut(self) -> None:
        """Reset all connections; new ones are forwarded."""
        cut = list(self._connections)
        for connection in cut:
            connection.cancel()
        if cut:
            await asyncio.wait(cut)

    def delay(self, seconds: float) -> None:
        """Delay every piece of data by *seconds*, in both directions."""
        self._delay_seconds = seconds

    def narrow(self, bytes_a_second: int) -> None:
        """Limit all replies together to *bytes_a_second*."""
        self._seconds_a_byte = 1 / bytes_a_second

    def freeze(self) -> None:
        """Accept connections and forward nothing, in both directions."""
        self._flowing.clear()

    def swallow_replies(self, count: int, *, then_cut: bool = False) -> None:
        """Drop the next *count* pieces that the server sends.

        *then_cut* resets each connection that lost one, so that the client does not
        wait for its timeout.
        """
        self._to_swallow = count
        self._cuts_when_it_swallows = then_cut

    def talk(self, nonsense: bytes) -> None:
        """Send *nonsense* in place of each piece that the server sends."""
        self._nonsense = nonsense

    async def heal(self) -> None:
        """Forward everything from now on, including what a freeze held back."""
        self._delay_seconds = self._seconds_a_byte = 0.0
        self._to_swallow = 0
        self._nonsense = b""
        self._flowing.set()
        await self._listen()

    async def __aenter__(self) -> Self:
        await self._listen()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.refuse()

    async def _listen(self) -> None:
        if self._listener is None:
            self._listener = await asyncio.start_server(
                self._accept, "127.0.0.1", self.port
            )
            self.port = self._listener.sockets[0].getsockname()[1]

    async def _accept(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        connection = asyncio.current_task()
        assert connection is not None
        self._connections.add(connection)
        self.accepted += 1
        try:
            await self._connect(reader, writer)
            writer.close()
        except (OSError, asyncio.CancelledError):
            # A cut ends here: no one awaits what asyncio's server started.
            _reset(writer)
        finally:
            self._connections.discard(connection)

    async def _connect(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        from_there, to_there = await asyncio.open_connection("127.0.0.1", self._target)
        is_broken = False
        try:
            async with asyncio.TaskGroup() as directions:
                directions.create_task(self._forward(reader, to_there))
                directions.create_task(self._forward(from_there, writer, is_reply=True))
        except* OSError:
            # One side is gone, so the other one is closed.
            is_broken = True
        finally:
            to_there.close()
        if is_broken:
            raise ConnectionResetError

    async def _forward(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        *,
        is_reply: bool = False,
    ) -> None:
        # So that `drain` returns only when everything has been sent.
        writer.transport.set_write_buffer_limits(0)
        while data := await reader.read(_CHUNK_BYTES):
            if self._delay_seconds:
                await asyncio.sleep(self._delay_seconds)
            if is_reply and self._seconds_a_byte:
                async with self._link:
                    await asyncio.sleep(len(data) * self._seconds_a_byte)
            await self._flowing.wait()
            if is_reply and self._to_swallow:
                self._to_swallow -= 1
                if self._cuts_when_it_swallows:
                    raise ConnectionResetError
                continue
            writer.write(self._nonsense if is_reply and self._nonsense else data)
            await writer.drain()
        await self._flowing.wait()
        if writer.can_write_eof():
            writer.write_eof()


def _reset(writer: asyncio.StreamWriter) -> None:
    """Close with a reset instead of an orderly end."""
    connection = writer.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
