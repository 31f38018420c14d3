"""The README's first screen, run unchanged."""

from __future__ import annotations

import json
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest

from tests.dev_service import clone_into, make_dev

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
ADDRESS = "http://127.0.0.1:8080"


def code_blocks() -> list[str]:
    """Return the shell blocks of the README in order."""
    return re.findall(r"```sh\n(.*?)```", README, re.DOTALL)


def run(command: str, folder: Path, address: str) -> str:
    """Run one command of the README at *address*; return its output."""
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", command.replace(ADDRESS, address)],
        cwd=folder,
        capture_output=True,
        timeout=60,
        check=True,
    )
    return done.stdout.decode()


@dataclass(frozen=True)
class FirstRun:
    """The clone in which `make dev` ran, the outputs, and the processes of it."""

    clone: Path
    painted: str
    again: str
    lent: dict[str, Any]
    read_back: bytes
    servers: list[str]
    servers_after: list[str]


@pytest.fixture(scope="module")
def first_run(tmp_path_factory: pytest.TempPathFactory) -> FirstRun:
    """Run the README's commands in a clone, and end `make dev` by Ctrl-C."""
    clone = clone_into(tmp_path_factory.mktemp("readme") / "paintonce")
    _, asking_twice, uploading = code_blocks()
    first, second = asking_twice.strip().splitlines()
    with make_dev(clone) as address:
        painted = run(first, clone, address)
        again = run(second, clone, address)
        lent = json.loads(run(uploading, clone, address))
        with urlopen(lent["url"].replace(ADDRESS, address)) as answer:
            read_back = answer.read()
        servers = servers_in(clone)
    return FirstRun(
        clone, painted, again, lent, read_back, servers, servers_after=servers_in(clone)
    )


def test_a_new_user_gets_a_hit_with_the_second_curl(first_run: FirstRun) -> None:
    """The README's commands paint once and then count a hit."""
    first_screen, _, _ = code_blocks()
    picture = (first_run.clone / "fox.png").read_bytes()

    assert "make dev" in first_screen
    assert "make test" in first_screen
    assert "X-Cache-Status: MISS" in first_run.painted
    assert "X-Placeholder: true" in first_run.painted
    assert "X-Cache-Status: HIT" in first_run.again
    assert "X-Cache-Hit-Count: 1" in first_run.again
    assert picture.startswith(b"\x89PNG")
    assert first_run.read_back == picture


def test_pictures_counts_and_transient_images_survive_a_restart(
    first_run: FirstRun,
) -> None:
    """Pictures, counts and transient images survive a restart of `make dev`."""
    _, asking_twice, _ = code_blocks()

    with make_dev(first_run.clone) as address:
        again = run(asking_twice.strip().splitlines()[0], first_run.clone, address)
        with urlopen(f"{address}/api/images/{first_run.lent['id']}") as answer:
            assert answer.read() == first_run.read_back

    assert "X-Cache-Hit-Count: 2" in again


def test_make_dev_stops_what_it_started(first_run: FirstRun) -> None:
    """Ctrl-C in `make dev` stops its Redis."""
    assert first_run.servers
    assert first_run.servers_after == []


def servers_in(folder: Path) -> list[str]:
    """Return the ids of processes whose working folder is below *folder*."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            where = (entry / "cwd").resolve(strict=True)
        except OSError:
            continue
        if where.is_relative_to(folder / "var"):
            found.append(entry.name)
    return found
