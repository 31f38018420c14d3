"""docs/tutorial.md, run block by block in one shell, from a fresh clone."""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING

from tests.dev_service import clone_into, make_dev
from tests.documents.shell import ADDRESS, DOCS, Shell, blocks

if TYPE_CHECKING:
    from pathlib import Path

# A block that is run, and what the page says that it prints.
STEP = re.compile(r"```sh\n(.*?)```(?:\n\n```text\n(.*?)```)?", re.DOTALL)


def steps() -> list[tuple[str, list[str]]]:
    """Return each block of commands with the output that the page shows."""
    text = (DOCS / "tutorial.md").read_text()
    return [(sh, shown.splitlines()) for sh, shown in STEP.findall(text)]


def test_the_tutorial_prints_what_it_shows(tmp_path: Path) -> None:
    """The tutorial's commands print every line that it shows."""
    assert blocks("tutorial.md", "console") == ["make dev\n"]
    clone = clone_into(tmp_path / "paintonce")
    with make_dev(clone) as address, Shell(tmp_path) as shell:
        for commands, shown in steps():
            printed = shell.run(commands.replace(ADDRESS, address))
            missing = Counter(shown) - Counter(printed.replace("\r", "").splitlines())
            assert not missing, f"{commands}\n{printed}"
