"""The service as the documents start it, in a clone of the tree."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING
from urllib.request import urlopen

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[1]
READY_WITHIN_SECONDS = 30.0


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """Run `python -m app dev` in *folder* on a free port; yield its address."""
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(ROOT),
        "SHUTDOWN_GRACE_SECONDS": "1",
    }
    with subprocess.Popen(
        [sys.executable, "-m", "app", "dev", "--port", "0"],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        assert process.stdout is not None
        try:
            said = "".join(_first_lines(process.stdout))
            found = re.search(r"address +(\S+)", said)
            assert found is not None, said
            _until_ready(found[1], process, said)
            yield found[1]
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(timeout=30)


def _until_ready(address: str, process: subprocess.Popen[str], said: str) -> None:
    deadline = time.monotonic() + READY_WITHIN_SECONDS
    while not _is_ready(address):
        assert process.poll() is None, f"it ended; see {said}"
        assert time.monotonic() < deadline, f"it did not become ready; see {said}"
        time.sleep(0.05)


def _is_ready(address: str) -> bool:
    try:
        with urlopen(f"{address}/readyz", timeout=2):
            return True
    # Also where it answers that it is not.
    except OSError:
        return False


def _first_lines(output: IO[str]) -> Iterator[str]:
    """Yield the service's output until it listens."""
    for line in output:
        yield line
        if "listening port=" in line:
            return


def clone_into(folder: Path) -> Path:
    """Copy the tree into *folder* like a clone after its set-up."""
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard", "-z"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    for name in filter(None, listed.stdout.decode().split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    (folder / ".venv").symlink_to(ROOT / ".venv")
    return folder


@contextmanager
def make_dev(folder: Path) -> Iterator[str]:
    """Run `make dev` on a free port; yield the address to use instead of 8080's."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {
        name: os.environ[name]
        for name in ("PATH", "HOME", "LANG")
        if name in os.environ
    }
    log = (folder / "dev.log").open("w+")
    with (
        log,
        subprocess.Popen(
            ["make", "dev", f"PORT={port}"],
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        ) as process,
    ):
        address = f"http://127.0.0.1:{port}"
        try:
            _until_ready(address, process, f"{folder}/dev.log")
            yield address
        finally:
            # Ctrl-C: everything in the foreground gets it.
            os.killpg(process.pid, signal.SIGINT)
            process.wait(timeout=40)
