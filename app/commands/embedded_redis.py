"""Embedded mode: a real redis-server of its own, in a folder that survives.

For a first look and for development. The server listens on a Unix socket
only and writes every change to its append-only file. It ends with us:

1. When we end in an orderly way, we end it last.
2. When we are killed, a watcher that reads from us until then ends it.
3. Where it lives on all the same, it holds the lock that it was given, and
   the next one to use the folder ends it before it starts its own.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from subprocess import DEVNULL, PIPE, STDOUT
from typing import IO

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from app.commands.embedded_program import CannotEmbed, program_for

__all__ = ["CannotEmbed", "EmbeddedRedis", "claimed", "embedded_redis"]

STARTS_WITHIN_SECONDS = 15.0
STOPS_WITHIN_SECONDS = 10.0
_LOOKS_EVERY_SECONDS = 0.02

# Beside the data: the lock that the server holds, and where it listens.
_ALIVE = "server.lock"
_SOCKET = "server.socket"

_LONGEST_FOLDER = 50

# Reads from this process until it ends, in whatever way.
_WATCHER = 'read _; kill -TERM "$0"'


@dataclass(frozen=True, slots=True)
class EmbeddedRedis:
    """A running server: its address, and the program that it is."""

    url: str
    program: str


@contextmanager
def claimed(folder: Path) -> Iterator[None]:
    """Own *folder* as long as the context is open; raises `CannotEmbed`."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock: IO[str] = (folder / "lock").open("w")
    except OSError as error:
        raise CannotEmbed(f"{folder} can't be written: {error.strerror}.") from error
    with lock:
        if not _is_locked_by_us(lock):
            raise CannotEmbed(
                f"another `python -m app dev` uses {folder}; give this one --data."
            )
        yield


@asynccontextmanager
async def embedded_redis(folder: Path) -> AsyncIterator[EmbeddedRedis]:
    """Run a redis-server whose data is in *folder*, which the caller has claimed.

    Raises `CannotEmbed` where there is none, or where it does not start.
    """
    data = folder / "redis"
    data.mkdir(exist_ok=True)
    program = await program_for(data)
    with (data / _ALIVE).open("a+") as alive:
        await _end_the_last_one(data, alive)
        socket = _socket_path(folder)
        (data / _SOCKET).write_text(str(socket))
        async with _server(program.path, data, socket, alive):
            yield EmbeddedRedis(f"unix://{socket}", program.path)


@asynccontextmanager
async def _server(
    program: str, data: Path, socket: Path, alive: IO[str]
) -> AsyncIterator[None]:
    process = await asyncio.create_subprocess_exec(
        program,
        *_options(data, socket),
        stdin=DEVNULL,
        stdout=PIPE,
        stderr=STDOUT,
        start_new_session=True,  # Ctrl-C is for us; we stop it last
        pass_fds=[alive.fileno()],  # held locked for as long as it lives
    )
    watcher = await asyncio.create_subprocess_exec(
        *("sh", "-c", _WATCHER, str(process.pid)),
        stdin=PIPE,
        stdout=DEVNULL,
        stderr=DEVNULL,
        start_new_session=True,
    )
    output = asyncio.create_task(_last_lines(process))
    try:
        await _wait_until_ready(socket, process, output)
        yield
    finally:
        # It would signal a process that has this id by then.
        watcher.kill()
        await watcher.wait()
        if process.returncode is None:
            process.terminate()
        try:
            async with asyncio.timeout(STOPS_WITHIN_SECONDS):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()
        await output


async def _end_the_last_one(data: Path, alive: IO[str]) -> None:
    """Take the lock of the server, ending one that outlived its parent.

    Two servers on one append-only file damage it.
    """
    if _is_locked_by_us(alive):
        return
    with suppress(RedisError, OSError):
        async with _client(Path((data / _SOCKET).read_text())) as client:
            await client.shutdown()
    try:
        async with asyncio.timeout(STOPS_WITHIN_SECONDS):
            while not _is_locked_by_us(alive):  # noqa: ASYNC110 - another process's doing
                await asyncio.sleep(_LOOKS_EVERY_SECONDS)
    except TimeoutError:
        raise CannotEmbed(
            f"a redis-server of an earlier run still uses {data}, and does not end: "
            f"end it by hand."
        ) from None


def _is_locked_by_us(file: IO[str]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _client(socket: Path) -> Redis:
    return Redis(unix_socket_path=str(socket), retry=Retry(NoBackoff(), 0))


def _socket_path(folder: Path) -> Path:
    name = sha256(str(folder.resolve()).encode()).hexdigest()[:16]
    private = _temporary_folder() / f"paintonce-{os.getuid()}"
    private.mkdir(mode=0o700, exist_ok=True)
    status = private.lstat()
    if status.st_uid != os.getuid() or status.st_mode & 0o077:
        raise CannotEmbed(f"{private} belongs to another user.")
    return private / f"{name}.sock"


def _temporary_folder() -> Path:
    """Return a folder whose path leaves room: a socket's has some 100 bytes."""
    usual = Path(tempfile.gettempdir())
    return usual if len(str(usual)) <= _LONGEST_FOLDER else Path("/tmp")  # noqa: S108 - what is made in it is private


def _options(data: Path, socket: Path) -> list[str]:
    options = {
        "port": "0",
        "unixsocket": str(socket),
        "unixsocketperm": "600",
        "dir": str(data),
        "appendonly": "yes",
        "save": "",
        "maxmemory-policy": "noeviction",
        "daemonize": "no",
    }
    return [part for name, value in options.items() for part in (f"--{name}", value)]


async def _wait_until_ready(
    socket: Path, process: asyncio.subprocess.Process, output: asyncio.Task[str]
) -> None:
    try:
        async with asyncio.timeout(STARTS_WITHIN_SECONDS), _client(socket) as client:
            while process.returncode is None:
                try:
                    await client.ping()
                except (RedisError, OSError):
                    await asyncio.sleep(_LOOKS_EVERY_SECONDS)
                else:
                    return
    except TimeoutError:
        raise CannotEmbed("redis-server did not answer in time.") from None
    raise CannotEmbed(f"redis-server did not start:\n{await output}")


async def _last_lines(process: asyncio.subprocess.Process) -> str:
    lines: list[str] = []
    assert process.stdout is not None  # noqa: S101 - it was asked for above
    async for line in process.stdout:
        lines = [*lines[-9:], line.decode(errors="replace").rstrip()]
    return "\n".join(lines)
