"""The commands of docs/how-to/warm.md."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from tests.dev_service import served
from tests.documents.shell import Shell, blocks

if TYPE_CHECKING:
    from pathlib import Path


def test_the_second_run_of_the_page_costs_nothing(tmp_path: Path) -> None:
    """The page's first run paints three pictures; the second one has three hits."""
    first, again = blocks("how-to/warm.md")
    (shown,) = blocks("how-to/warm.md", "json")

    with served(tmp_path) as address, Shell(tmp_path) as shell:
        # The page's service is at the default address, the test's anywhere.
        here = f"warm prompts.txt --url {address}"
        painted = shell.run(first.replace("warm prompts.txt", here))
        found = shell.run(again.replace("warm prompts.txt", here))

    sums, sums_again = (json.loads(_summary(printed)) for printed in (painted, found))
    assert sums.keys() == json.loads(shown).keys()
    assert (sums["hits"], sums["misses"], sums["failures"]) == (0, 3, 0)
    assert (sums_again["hits"], sums_again["misses"]) == (3, 0)


def _summary(printed: str) -> str:
    """Return the line of JSON; the other lines are the progress bar."""
    (summary,) = [line for line in printed.splitlines() if line.startswith("{")]
    return summary
