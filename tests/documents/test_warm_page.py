"""docs/how-to/warm.md does what it says."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from tests.dev_service import served
from tests.documents.shell import ADDRESS, blocks, run

if TYPE_CHECKING:
    from pathlib import Path


def test_the_second_run_of_the_page_costs_nothing(tmp_path: Path) -> None:
    """Whoever pastes the page paints three pictures, and then finds three."""
    first, again = blocks("how-to/warm.md")
    (shown,) = blocks("how-to/warm.md", "json")

    with served(tmp_path) as address:
        # The page's service is at the default address, the test's anywhere.
        here = f"prompts.txt --url {ADDRESS}"
        painted = run(
            first.replace("warm prompts.txt", f"warm {here}"), tmp_path, address
        )
        found = run(again.replace("prompts.txt", here), tmp_path, address)

    sums = json.loads(painted)
    assert sums.keys() == json.loads(shown).keys()
    assert (sums["hits"], sums["misses"], sums["failures"]) == (0, 3, 0)
    assert (json.loads(found)["hits"], json.loads(found)["misses"]) == (3, 0)
