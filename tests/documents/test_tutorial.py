"""docs/tutorial.md, run line by line in one shell against a fresh service."""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING

from tests.dev_service import served
from tests.documents.shell import ADDRESS, DOCS, Shell

if TYPE_CHECKING:
    from pathlib import Path

# A block that is run, and what the page says that it prints.
STEP = re.compile(r"```sh\n(.*?)```(?:\n\n```text\n(.*?)```)?", re.DOTALL)


def steps() -> list[tuple[str, list[str]]]:
    """Return each block of commands, and the lines that follow from it."""
    text = (DOCS / "tutorial.md").read_text()
    return [(sh, shown.splitlines()) for sh, shown in STEP.findall(text)]


def test_the_tutorial_prints_what_it_shows(tmp_path: Path) -> None:
    """A reader who types it sees each line that is shown."""
    with served(tmp_path) as address, Shell(tmp_path) as shell:
        for commands, shown in steps():
            printed = shell.run(commands.replace(ADDRESS, address))
            missing = Counter(shown) - Counter(printed.replace("\r", "").splitlines())
            assert not missing, f"{commands}\n{printed}"
