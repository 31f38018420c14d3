"""The README's first screen, run unchanged."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from urllib.request import urlopen

import pytest

from tests.dev_service import clone_into, make_dev

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
ADDRESS = "http://127.0.0.1:8080"


def code_blocks() -> list[str]:
    """Return the shell blocks of the README in order."""
    return re.findall(r"```sh\n(.*?)```", README, re.DOTALL)


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """Return a copy of the tree like a clone after its set-up."""
    return clone_into(tmp_path / "paintonce")


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


def test_a_new_user_gets_a_hit_with_the_second_curl(clone: Path) -> None:
    """The README's commands paint once and then count a hit."""
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
    """Pictures, counts and transient images survive a restart of `make dev`."""
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
    """Ctrl-C in `make dev` stops its Redis."""
    with make_dev(clone):
        assert servers_in(clone)

    assert servers_in(clone) == []


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
