"""Processes that begin as copies of one that has imported the service.

The imports take a second of processor time, which is most of what a short test of a
replica takes. A copy is a process like any other: it has its own environment, folder,
session and output, and can be frozen and killed.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

_ROOT = Path(__file__).parents[2]
LONGEST_REQUEST = 65_536
_LONGEST_LINE = 1024 * 1024


@dataclass
class ForkedProcess:
    """One copy; it has what tests use of `asyncio.subprocess.Process`."""

    pid: int
    stdout: asyncio.StreamReader
    _ended: asyncio.Task[int]

    @property
    def returncode(self) -> int | None:
        """The exit status, negative for a signal; None while it runs."""
        return self._ended.result() if self._ended.done() else None

    async def wait(self) -> int:
        """Return the exit status once it has ended."""
        return await asyncio.shield(self._ended)

    def send_signal(self, number: signal.Signals) -> None:
        """Send it a signal, if it still runs."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, number)


async def start_forked(
    program: str, *arguments: str, environment: Mapping[str, str], folder: Path
) -> ForkedProcess:
    """Start `python -m PROGRAM` as a copy; see `PROGRAMS` in `tests.forks.__main__`."""
    request = {
        "program": program,
        "arguments": arguments,
        "environment": dict(environment),
        "folder": str(folder),
    }
    (output, its_output), (status, its_status) = os.pipe(), os.pipe()
    try:
        message = json.dumps(request).encode()
        socket.send_fds(_forking(), [message], [its_output, its_status])
    finally:
        os.close(its_output)
        os.close(its_status)
    stdout, statuses = await _reader(output), await _reader(status)
    pid = int(await statuses.readline())
    return ForkedProcess(
        pid, stdout, asyncio.create_task(_status(statuses), name="exit-status")
    )


async def _reader(descriptor: int) -> asyncio.StreamReader:
    reader = asyncio.StreamReader(_LONGEST_LINE)
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader),
        os.fdopen(descriptor, "rb", buffering=0),
    )
    return reader


async def _status(statuses: asyncio.StreamReader) -> int:
    # To its end, so that the pipe is closed.
    return int(await statuses.read())


@cache
def _forking() -> socket.socket:
    """Start the process that forks, once per worker; return the socket to it."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.forks"],
            stdin=theirs.fileno(),
            cwd=_ROOT,
            start_new_session=True,
        )

    def stop() -> None:
        ours.close()
        process.wait()

    atexit.register(stop)
    return ours
