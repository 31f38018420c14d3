"""A real nginx with the shipped `deploy/nginx.conf` in front of given replicas."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import socket
import tempfile
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

SHIPPED = Path(__file__).parents[2] / "deploy" / "nginx.conf"

_START_SECONDS = 10.0
_ATTEMPTS = 5


@dataclass(frozen=True)
class ReverseProxy:
    """A running nginx: where it listens and the folder of its logs."""

    url: str
    folder: Path

    def logs(self) -> str:
        """Everything that nginx has written down, errors included."""
        return "".join(
            (self.folder / name).read_text() for name in ("stdout", "stderr")
        )


class _PortTaken(Exception):
    """Somebody was faster: another port may do."""


def nginx_binary() -> str:
    """Where nginx is; a missing one fails in continuous integration, else skips."""
    path = os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"))
    binary = shutil.which("nginx", path=path)
    if binary:
        return binary
    reason = "nginx is not installed (Debian: apt-get install nginx)"
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


@asynccontextmanager
async def reverse_proxy(first: int, second: int) -> AsyncIterator[ReverseProxy]:
    """Start nginx in front of the replicas on these two ports of 127.0.0.1.

    Only addresses and the folder for its files differ from the shipped file.
    """
    binary = nginx_binary()
    # Not pytest's own folder: an nginx started by root drops to a user who may
    # not enter that one.
    with tempfile.TemporaryDirectory(prefix="paintonce-nginx-") as name:
        folder = Path(name)
        for _ in range(_ATTEMPTS):
            port = _free_port()
            process = await _start(binary, folder, port, first, second)
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


def configuration(folder: Path, port: int, first: int, second: int) -> str:
    """Give the shipped file other addresses, ports and paths."""
    text = SHIPPED.read_text()
    for shipped, here in (
        ("paintonce-1:8080", f"127.0.0.1:{first}"),
        ("paintonce-2:8080", f"127.0.0.1:{second}"),
        ("listen 8080", f"listen 127.0.0.1:{port}"),
        (" /tmp/", f" {folder}/"),
        # As files, so that nginx opens them before it drops to another user.
        ("/dev/stdout", f"{folder}/stdout"),
        ("/dev/stderr", f"{folder}/stderr"),
    ):
        assert shipped in text, f"deploy/nginx.conf does not say {shipped!r}"
        text = text.replace(shipped, here)
    assert not re.search(r"paintonce-\d", text)
    return text


async def _start(
    binary: str, folder: Path, port: int, first: int, second: int
) -> asyncio.subprocess.Process:
    path = folder / "nginx.conf"
    path.write_text(configuration(folder, port, first, second))
    (folder / "stdout").touch()
    return await asyncio.create_subprocess_exec(
        *(binary, "-p", str(folder), "-c", str(path), "-e", str(folder / "stderr")),
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
