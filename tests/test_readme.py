"""The README's first screen, run as it stands."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.request import urlopen

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
ADDRESS = "http://127.0.0.1:8080"


def code_blocks() -> list[str]:
    """Return the shell blocks of the README in order."""
    return re.findall(r"```sh\n(.*?)```", README, re.DOTALL)


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """Return a copy of the tree as a clone has it, with the set-up done."""
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard", "-z"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    folder = tmp_path / "paintonce"
    for name in filter(None, listed.stdout.decode().split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    (folder / ".venv").symlink_to(ROOT / ".venv")
    return folder


@contextmanager
def make_dev(folder: Path) -> Iterator[str]:
    """Run `make dev` on a free port; yield the address that took 8080's place."""
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
            start_new_session=True,
        ) as process,
    ):
        address = f"http://127.0.0.1:{port}"
        try:
            deadline = time.monotonic() + 30
            while not is_ready(address):
                assert process.poll() is None, (folder / "dev.log").read_text()
                assert time.monotonic() < deadline, (folder / "dev.log").read_text()
                time.sleep(0.1)
            yield address
        finally:
            # Ctrl-C: everything in the foreground gets it.
            os.killpg(process.pid, signal.SIGINT)
            process.wait(timeout=40)


def is_ready(address: str) -> bool:
    """Say whether the service answers that it is ready."""
    try:
        with urlopen(f"{address}/readyz", timeout=2) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def run(command: str, folder: Path, address: str) -> str:
    """Run one command of the README at *address*; return what it printed."""
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", command.replace(ADDRESS, address)],
        cwd=folder,
        capture_output=True,
        timeout=60,
        check=True,
    )
    return done.stdout.decode()


def test_a_new_user_gets_a_hit_with_the_second_curl(clone: Path) -> None:
    """`make dev` and the README's commands paint once and count the hit."""
    first_screen, asking_twice, uploading = code_blocks()
    assert "make dev" in first_screen
    assert "make test" in first_screen
    first, second = asking_twice.strip().splitlines()

    with make_dev(clone) as address:
        painted = run(first, clone, address)
        again = run(second, clone, address)
        lent = json.loads(run(uploading, clone, address))

        assert "X-Cache-Status: MISS" in painted
        assert "X-Placeholder: true" in painted
        assert "X-Cache-Status: HIT" in again
        assert "X-Cache-Hit-Count: 1" in again
        assert (clone / "fox.png").read_bytes().startswith(b"\x89PNG")
        with urlopen(lent["url"].replace(ADDRESS, address)) as answer:
            assert answer.read() == (clone / "fox.png").read_bytes()


def test_pictures_counts_and_transient_images_survive_a_restart(clone: Path) -> None:
    """A second `make dev` goes on where the first one ended."""
    _, asking_twice, uploading = code_blocks()
    ask = asking_twice.strip().splitlines()[0]

    with make_dev(clone) as address:
        run(ask, clone, address)
        assert "X-Cache-Hit-Count: 1" in run(ask, clone, address)
        lent = json.loads(run(uploading, clone, address))
    with make_dev(clone) as address:
        again = run(ask, clone, address)
        with urlopen(f"{address}/api/images/{lent['id']}") as answer:
            assert answer.read() == (clone / "fox.png").read_bytes()

    assert "X-Cache-Hit-Count: 2" in again


def test_make_dev_stops_what_it_started(clone: Path) -> None:
    """After Ctrl-C no redis-server of this folder is left."""
    with make_dev(clone):
        assert servers_in(clone)

    assert servers_in(clone) == []


def servers_in(folder: Path) -> list[str]:
    """Return the ids of running processes whose working folder is below *folder*."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            where = (entry / "cwd").resolve(strict=True)
        except OSError:
            continue
        if where.is_relative_to(folder / "var"):
            found.append(entry.name)
    return found
