"""The commands of docs/how-to/migrate.md move the prompts of a small cache."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING

import pytest

from tests.dev_service import served
from tests.documents.shell import ADDRESS, Shell, blocks

if TYPE_CHECKING:
    from pathlib import Path

PAGE = "how-to/migrate.md"
PICTURES = [
    ("a barn owl", "512x512", 3),
    ("a red fox", "512x512", 7),
    ("a mole", "8x8", 0),
]


@pytest.mark.long
def test_prompts_move_and_the_code_asks_for_them(tmp_path: Path) -> None:
    """The moved prompts are painted in their sizes, and the new code gets hits."""
    export, paint = blocks(PAGE)
    (code,) = blocks(PAGE, "python")
    with sqlite3.connect(tmp_path / "cache.db") as cache:
        cache.execute("CREATE TABLE pictures (prompt TEXT, size TEXT, hits INTEGER)")
        cache.executemany("INSERT INTO pictures VALUES (?, ?, ?)", PICTURES)
    cache.close()

    with served(tmp_path) as address, Shell(tmp_path) as shell:
        assert shell.run(export).strip() == "2"
        shell.run(paint.replace("prompts.txt", f"prompts.txt --url {address}"))
        (tmp_path / "ask.py").write_text(code.replace(ADDRESS, address))
        assert "bytes" in shell.run("python ask.py")
        found = shell.run(
            f"curl -sSI '{address}/api/v1/live/generate"
            "?prompt=a+red+fox&width=512&height=512'"
        )

    assert "X-Cache-Hit-Count: 2" in found
    assert (tmp_path / "prompts.txt").read_text().startswith('{"prompt": "a red fox"')
