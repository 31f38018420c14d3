"""The example of docs/reference/client.md runs; its table has every method."""

from __future__ import annotations

import inspect
import re
from typing import TYPE_CHECKING

from app.client import Paintonce
from tests.dev_service import served
from tests.documents.shell import ADDRESS, DOCS, Shell, blocks

if TYPE_CHECKING:
    from pathlib import Path

PAGE = "reference/client.md"


def test_the_example_paints_three_pictures(tmp_path: Path) -> None:
    """The page's example prints a MISS and then two pictures as they are ready."""
    (example,) = blocks(PAGE, "python")

    with served(tmp_path) as address, Shell(tmp_path) as shell:
        (tmp_path / "ask.py").write_text(example.replace(ADDRESS, address))
        printed = shell.run("python ask.py").strip().splitlines()

    assert printed[0].startswith("MISS None ")
    assert sorted(printed[1:]) == ["a barn owl MISS", "a grey seal MISS"]


def test_every_method_is_documented() -> None:
    """The table has the public methods of the client, and no others."""
    documented = re.findall(
        r"^\| `(?:await )?(\w+)\(", (DOCS / PAGE).read_text(), re.MULTILINE
    )

    methods = [
        name
        for name, _ in inspect.getmembers(Paintonce, inspect.isfunction)
        if not name.startswith("_")
    ]
    assert sorted(documented) == methods
