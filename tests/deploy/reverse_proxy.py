"""A real nginx with the shipped `deploy/nginx.conf` in front of given replicas."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import socket
import subprocess
import tempfile
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

SHIPPED = Path(__file__).parents[2] / "deploy" / "nginx.conf"

# The `resolve` of an upstream's servers, which was nginx Plus's before.
RESOLVES_SINCE = (1, 27, 3)

_START_SECONDS = 10.0
_ATTEMPTS = 5


@dataclass(frozen=True)
class ReverseProxy:
    """A running nginx: its address and the folder of its logs."""

    url: str
    folder: Path

    @property
    def port(self) -> int:
        """The port of the address."""
        return int(self.url.rpartition(":")[2])

    def logs(self) -> str:
        """All logs of nginx, errors included."""
        return "".join(
            (self.folder / name).read_text() for name in ("stdout", "stderr")
        )


class _PortTaken(Exception):
    """Another process took the port first; the next try uses another one."""


class Nginx(NamedTuple):
    """A program, and whether it resolves the names of its servers again."""

    program: str
    looks_up_again: bool


@cache
def nginx() -> Nginx:
    """Find nginx: the one that `.ci/nginx` unpacks, else the machine's own.

    If it is missing, the test fails in continuous integration and is skipped elsewhere.
    """
    kept = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
    places = (str(kept / "paintonce" / "nginx"), os.environ.get("PATH", os.defpath))
    path = os.pathsep.join((*places, "/usr/sbin", "/usr/local/sbin"))
    program = shutil.which("nginx", path=path)
    if program:
        said = subprocess.run([program, "-v"], capture_output=True, check=True)
        version = re.findall(rb"\d+", said.stderr)
        return Nginx(program, tuple(map(int, version)) >= RESOLVES_SINCE)
    reason = "nginx is not installed (Debian: apt-get install nginx)"
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


@asynccontextmanager
async def reverse_proxy(
    first: int | str,
    second: int | str,
    *,
    every: str | None = None,
    name_server: str | None = None,
) -> AsyncIterator[ReverseProxy]:
    """Start nginx in front of two replicas: `host:port`, or ports of 127.0.0.1.

    *every* is the `name:port` that both have at *name_server*. Without it, requests
    that must be sent only once all go to the first. Only addresses and the folder for
    its files differ from the shipped file.
    """
    # Not pytest's own folder: an nginx started by root drops to a user who may
    # not enter that one.
    with tempfile.TemporaryDirectory(prefix="paintonce-nginx-") as name:
        folder = Path(name)
        for _ in range(_ATTEMPTS):
            port = _free_port()
            text = configuration(
                *(folder, port, first, second), every=every, name_server=name_server
            )
            process = await _start(folder, text)
            try:
                await _listening(process, folder, port)
                yield ReverseProxy(f"http://127.0.0.1:{port}", folder)
            except _PortTaken:
                continue
            finally:
                if process.returncode is None:
                    process.terminate()
                await process.wait()
            return
        pytest.fail("nginx found no free port")


def configuration(
    folder: Path,
    port: int,
    first: int | str,
    second: int | str,
    *,
    every: str | None = None,
    name_server: str | None = None,
) -> str:
    """Return the shipped file with other addresses, ports and paths.

    An nginx that is too old for resolving again resolves names once.
    """
    text = SHIPPED.read_text()
    for shipped, here in (
        ("paintonce-1:8080", _address(first)),
        ("paintonce-2:8080", _address(second)),
        (" paintonce:8080", f" {every or _address(first)}"),
        ("listen 8080", f"listen 127.0.0.1:{port}"),
        (" /tmp/", f" {folder}/"),
        # As files, so that nginx opens them before it drops to another user.
        ("/dev/stdout", f"{folder}/stdout"),
        ("/dev/stderr", f"{folder}/stderr"),
        ("127.0.0.11 ", f"{name_server or '127.0.0.11'} "),
        (" resolve ", " resolve " if nginx().looks_up_again else " "),
    ):
        assert shipped in text, f"deploy/nginx.conf does not say {shipped!r}"
        text = text.replace(shipped, here)
    return text


def _address(replica: int | str) -> str:
    return replica if isinstance(replica, str) else f"127.0.0.1:{replica}"


async def _start(folder: Path, configuration: str) -> asyncio.subprocess.Process:
    path = folder / "nginx.conf"
    path.write_text(configuration)
    (folder / "stdout").touch()
    return await asyncio.create_subprocess_exec(
        *(nginx().program, "-p", str(folder), "-c", str(path)),
        *("-e", str(folder / "stderr")),
        *("-g", "daemon off;" + ("user root;" if os.geteuid() == 0 else "")),
    )


async def _listening(
    process: asyncio.subprocess.Process, folder: Path, port: int
) -> None:
    async with asyncio.timeout(_START_SECONDS):
        while True:
            if process.returncode is not None:
                said = (folder / "stderr").read_text()
                if "Address already in use" in said:
                    raise _PortTaken
                pytest.fail(f"nginx did not start: {said}")
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except ConnectionRefusedError:
                await asyncio.sleep(0.02)
                continue
            writer.close()
            await writer.wait_closed()
            return


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
