"""A server as a child process, controlled by its own id."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

_T = TypeVar("_T")

# Another process may take a free port before the server does.
_PORT_ATTEMPTS = 5
# A loaded machine with two cores takes its time.
START_TIMEOUT_SECONDS = 60.0
STOP_TIMEOUT_SECONDS = 5.0
_LOOK_EVERY_SECONDS = 0.02
_LOG_TAIL_BYTES = 4000


def free_port() -> int:
    """Return a port on 127.0.0.1 that was free a moment ago."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


class ProcessFailed(RuntimeError):
    """A server ended, or was not ready in time; its log is in the message."""


class ChildProcess:
    """A process in a session of its own, so that signals reach all of it."""

    def __init__(
        self,
        command: Sequence[str],
        *,
        log: Path,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self._command = command[0]
        self._log = log
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env=None if environment is None else {**os.environ, **environment},
            )

    @property
    def pid(self) -> int:
        """The process id, which is also its group's."""
        return self._process.pid

    @property
    def is_running(self) -> bool:
        """Whether it has not ended."""
        return self._process.poll() is None

    def wait_until(self, is_ready: Callable[[], bool]) -> None:
        """Return when *is_ready*; end it and raise `ProcessFailed` if it never is."""
        give_up_at = time.monotonic() + START_TIMEOUT_SECONDS
        while not is_ready():
            if not self.is_running or time.monotonic() > give_up_at:
                ended = not self.is_running
                self.kill()
                what = "ended at once" if ended else "is not ready in time"
                log = self._log.read_bytes()[-_LOG_TAIL_BYTES:].decode(errors="replace")
                raise ProcessFailed(f"{self._command} {what}:\n{log}")
            time.sleep(_LOOK_EVERY_SECONDS)

    def freeze(self) -> None:
        """Stop it with SIGSTOP; its sockets stay open."""
        self._send(signal.SIGSTOP)

    def thaw(self) -> None:
        """Resume it after `freeze`."""
        self._send(signal.SIGCONT)

    def kill(self) -> None:
        """End it with SIGKILL; safe to call again."""
        self._send(signal.SIGKILL)
        self._process.wait()

    def stop(self) -> int:
        """End it with SIGTERM, then SIGKILL; return its exit status."""
        self._send(signal.SIGTERM)
        self.thaw()
        try:
            return self._process.wait(STOP_TIMEOUT_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
            return self._process.returncode

    def _send(self, number: int) -> None:
        # Only while it has not been waited for is the id certainly its own.
        if self.is_running:
            os.killpg(self.pid, number)


def on_a_port(run: Callable[[int], _T], port: int | None) -> _T:
    """Call *run* with *port*, or with free ports until one works."""
    if port is not None:
        return run(port)
    for _ in range(_PORT_ATTEMPTS - 1):
        try:
            return run(free_port())
        except ProcessFailed as failure:
            if "in use" not in str(failure):
                raise
    return run(free_port())
