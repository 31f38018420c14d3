"""Row 8: clients that read a large picture slowly, and their memory."""

from __future__ import annotations

import asyncio
import socket
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

from benchmarks.figures import Line, single
from benchmarks.load import Load
from benchmarks.machine import resident_bytes
from benchmarks.stage import HEADERS

if TYPE_CHECKING:
    from benchmarks.stage import Source, Stage
    from tests.replica import Replica

CLIENTS = 500
PICTURE_BYTES = 16_000_000
# Each client: 32 KB four times a second, well above what is cut as a stall.
READ_BYTES, READ_EVERY_SECONDS = 32_768, 0.25
READS_FOR_SECONDS = 8.0


async def slow_readers(stage: Stage) -> list[Line]:
    """Row 8: the highest resident memory above idle for each client."""
    lines = []
    for source in stage.sources:
        for place, settings in (
            ("the hot tier", {}),
            ("the object store", {"HOT_TIER_BYTES": "0"}),
        ):
            values, answered = [], 0
            for _ in range(min(2, stage.rounds)):
                one, answered = await _once(stage, source, settings)
                values.append(one)
            lines.append(
                single(
                    "8",
                    f"memory for each of {_clients(stage)} slow readers of "
                    f"{_size(stage) // 1_000_000} MB from {place}",
                    values,
                    unit="KiB",
                    at_most=256.0,
                    note=f"{source.label}; {answered} were answered 200",
                )
            )
    return lines


def _clients(stage: Stage) -> int:
    return 20 if stage.tiny else CLIENTS


def _size(stage: Stage) -> int:
    return 2_000_000 if stage.tiny else PICTURE_BYTES


async def _once(
    stage: Stage, source: Source, settings: dict[str, str]
) -> tuple[float, int]:
    """Return the KiB for each client that was answered, and their number."""
    async with stage.service(source, settings=settings) as service:
        picture = await stage.paint(service, "a wide sea", _size(stage))
        request = Load(service.url, (), HEADERS).request(picture.target)
        pid = service.process.pid
        idle = resident_bytes(pid)
        async with AsyncExitStack() as stack:
            readers = [stack.enter_context(_reader()) for _ in range(_clients(stage))]
            reading = [
                asyncio.create_task(_read_slowly(one, service, request))
                for one in readers
            ]
            highest = 0
            seconds = 1.0 if stage.tiny else READS_FOR_SECONDS
            for _ in range(round(seconds / 0.1)):
                await asyncio.sleep(0.1)
                highest = max(highest, resident_bytes(pid))
            for task in reading:
                task.cancel()
            ends = await asyncio.gather(*reading, return_exceptions=True)
    # Clients that got an answer are still reading when it is over.
    answered = sum(isinstance(end, asyncio.CancelledError) for end in ends)
    return max(0, highest - idle) / 1024 / max(1, answered), answered


def _reader() -> socket.socket:
    reader = socket.socket()
    reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, READ_BYTES)
    reader.setblocking(False)  # noqa: FBT003 - the signature is Python's
    return reader


async def _read_slowly(reader: socket.socket, service: Replica, request: bytes) -> None:
    loop = asyncio.get_running_loop()
    await loop.sock_connect(reader, ("127.0.0.1", service.port))
    await loop.sock_sendall(reader, request)
    said = await loop.sock_recv(reader, READ_BYTES)
    if not said.startswith(b"HTTP/1.1 200"):
        return
    while said:
        await asyncio.sleep(READ_EVERY_SECONDS)
        said = await loop.sock_recv(reader, READ_BYTES)
