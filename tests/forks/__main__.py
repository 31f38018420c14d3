"""The process that forks: it imports what its copies need, and starts one per request.

A request is a message on the socket that is its standard input, with two descriptors:
the copy's output, and where its id and later its exit status are written. The process
ends with the socket.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import selectors
import signal
import socket
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from app.__main__ import main as run_app
from tests.fake_provider.__main__ import main as run_provider
from tests.forks import LONGEST_REQUEST

PROGRAMS: Mapping[str, Callable[[Sequence[str]], int]] = {
    "app": run_app,
    "tests.fake_provider": run_provider,
}


class Copy(NamedTuple):
    """The request for one copy, and its output."""

    request: bytes
    output: int


class Forks:
    """The socket and the running copies."""

    def __init__(self) -> None:
        self._socket = socket.socket(fileno=os.dup(0))
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._socket, selectors.EVENT_READ)
        # By the descriptor that becomes readable when the copy ends.
        self._running: dict[int, tuple[int, int]] = {}

    def serve(self) -> Copy | None:
        """Fork for each request: return in every copy, and None when all is over."""
        while True:
            for key, _ in self._selector.select():
                if key.fileobj is not self._socket:
                    self._reap(key.fd)
                    continue
                request, (*given,), _, _ = socket.recv_fds(
                    self._socket, LONGEST_REQUEST, 2
                )
                if not request:
                    self._end_all()
                    return None
                output, status = given
                if not (copy := os.fork()):
                    os.close(status)
                    self._close()
                    return Copy(request, output)
                os.close(output)
                os.write(status, f"{copy}\n".encode())
                ended = os.pidfd_open(copy)
                self._running[ended] = copy, status
                self._selector.register(ended, selectors.EVENT_READ)

    def _reap(self, ended: int) -> None:
        copy, status = self._running.pop(ended)
        self._selector.unregister(ended)
        os.close(ended)
        _, how = os.waitpid(copy, 0)
        # A test may end without waiting for a copy.
        with contextlib.suppress(BrokenPipeError):
            os.write(status, f"{os.waitstatus_to_exitcode(how)}\n".encode())
        os.close(status)

    def _end_all(self) -> None:
        """Kill the copies that are left, as no test is there to do it."""
        for copy, _ in self._running.values():
            os.kill(copy, signal.SIGKILL)

    def _close(self) -> None:
        self._selector.close()
        self._socket.close()
        for ended, (_, status) in self._running.items():
            os.close(ended)
            os.close(status)


def begin(copy: Copy) -> int:
    """Become the program that was asked for, as if it had just been started."""
    asked = json.loads(copy.request)
    os.setsid()
    os.chdir(asked["folder"])
    os.environ.clear()
    os.environ.update(asked["environment"])
    nothing = os.open(os.devnull, os.O_RDONLY)
    for descriptor, place in ((nothing, 0), (copy.output, 1), (copy.output, 2)):
        os.dup2(descriptor, place)
    os.close(nothing)
    os.close(copy.output)
    return PROGRAMS[asked["program"]](asked["arguments"])


if __name__ == "__main__":
    # Pages that a collection writes to would be copied in every process.
    gc.collect()
    gc.freeze()
    if forked := Forks().serve():
        status = begin(forked)
        gc.freeze()
        sys.exit(status)
