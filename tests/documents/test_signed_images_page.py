"""The programs of docs/how-to/signed-images.md compute the published signatures."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, urlsplit

import pytest

from app.signing import LIVE_PATH, canonical, is_signature
from tests.documents.shell import DOCS, Shell, blocks
from tests.replica import replica

if TYPE_CHECKING:
    from pathlib import Path

PAGE = "how-to/signed-images.md"
SECRET = "c2VjcmV0LWZvci10aGUtdGVzdC12ZWN0b3ItMzJieXRlcyE"
PROMPTS = ["a red fox", 'Zürich & 100% "snow" + 雪']


def _signatures() -> list[str]:
    """Return the signatures of the page's table."""
    text = (DOCS / PAGE).read_text()
    assert SECRET in text
    return re.findall(r"^\| `prompt=.*\| `([\w-]{43})` \|$", text, re.MULTILINE)


async def test_from_nothing_to_a_signed_image(
    settings: dict[str, str], tmp_path: Path
) -> None:
    """The page's commands make a key and an `<img>` that works without a key."""
    sealing, making, asking, tampering, writing = blocks(PAGE)
    expected = iter(blocks(PAGE, "text"))

    with Shell(tmp_path, **settings) as before:
        before.run(sealing)
    async with replica(settings, folder=tmp_path) as service:
        with Shell(tmp_path, **settings, PUBLIC_BASE_URL=service.url) as shell:
            made = shell.run(making)
            assert len(made.strip().splitlines()[-1]) >= 43
            for commands in (asking, tampering):
                assert shell.run(commands).strip() == next(expected).strip()
            shell.run(writing)

    (address,) = re.findall(r'src="([^"]+)"', (tmp_path / "page.html").read_text())
    assert address.startswith(f"{service.url}{LIVE_PATH}?aspect_ratio=16%3A9&amp;exp=")
    assert (tmp_path / "fox.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("language", "name", "command"),
    [
        ("python", "sign.py", [sys.executable]),
        ("js", "sign.js", ["node"]),
        ("go", "sign.go", ["go", "run"]),
        ("bash", "sign.sh", ["bash", "-eu"]),
    ],
)
def test_a_program_of_the_page_signs_both_vectors(
    tmp_path: Path, language: str, name: str, command: list[str]
) -> None:
    """Each program of the page prints the published signatures."""
    needed = [command[0], *(["openssl"] if language == "bash" else [])]
    for tool in needed:
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is not installed")
    (program,) = blocks(PAGE, language)
    (tmp_path / name).write_text(program)

    done = subprocess.run(
        [*command, name],
        cwd=tmp_path,
        # Go's cache is below the user's own home, a cold one takes long.
        env={**os.environ, "SIGNING_SECRET": SECRET, "GOTOOLCHAIN": "local"},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    queries = [urlsplit(url).query for url in done.stdout.split()]
    given = [dict(parse_qsl(query, strict_parsing=True)) for query in queries]
    assert [one["sig"] for one in given] == _signatures()
    assert [one["prompt"] for one in given] == PROMPTS
    for one in given:
        assert is_signature(one["sig"], SECRET, canonical("GET", LIVE_PATH, one))


def test_the_image_of_the_page_is_signed() -> None:
    """The page's `<img>` has the signature of the first vector."""
    (image,) = blocks(PAGE, "html")
    (address,) = re.findall(r'src="([^"]+)"', image)

    given = dict(parse_qsl(urlsplit(address.replace("&amp;", "&")).query))

    assert given["sig"] == _signatures()[0]
    assert is_signature(given["sig"], SECRET, canonical("GET", LIVE_PATH, given))
