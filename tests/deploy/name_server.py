"""A DNS server for tests, whose names can be moved to other addresses."""

from __future__ import annotations

import asyncio
import socket
import struct
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

_HEADER_BYTES = 12
_ANSWER = 0x8400  # an authoritative response
_NO_SUCH_NAME = 3
_TYPE_A = 1
_TEN_MINUTES = 600


class NameServer(asyncio.DatagramProtocol):
    """Answers with the current *addresses*, valid for ten minutes.

    Name servers of container engines do the same. A name that is not in *addresses*
    belongs to a stopped container.
    """

    def __init__(self, addresses: dict[str, list[str]]) -> None:
        self.addresses = addresses
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        """Answer one question (RFC 1035, section 4)."""
        assert self._transport
        labels, at = [], _HEADER_BYTES
        while length := data[at]:
            labels.append(data[at + 1 : at + 1 + length].decode())
            at += 1 + length
        question = data[_HEADER_BYTES : at + 5]
        (kind,) = struct.unpack_from("!H", data, at + 1)
        addresses = self.addresses.get(".".join(labels), [])
        flags = _ANSWER | (0 if addresses else _NO_SUCH_NAME)
        found = addresses if kind == _TYPE_A else []
        answer = data[:2] + struct.pack("!HHHHH", flags, 1, len(found), 0, 0) + question
        for address in found:
            # 0xC00C points back at the name in the question.
            answer += struct.pack("!HHHIH", 0xC00C, _TYPE_A, 1, _TEN_MINUTES, 4)
            answer += socket.inet_aton(address)
        self._transport.sendto(answer, addr)


@asynccontextmanager
async def name_server(
    addresses: dict[str, list[str]],
) -> AsyncIterator[tuple[NameServer, str]]:
    """Answer on a free port of 127.0.0.1; yield the server and its `host:port`."""
    loop = asyncio.get_running_loop()
    transport, server = await loop.create_datagram_endpoint(
        lambda: NameServer(addresses), local_addr=("127.0.0.1", 0)
    )
    try:
        host, port = transport.get_extra_info("sockname")
        yield server, f"{host}:{port}"
    finally:
        transport.close()
