"""The Python of the how-to about OpenAI's clients."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from tests.dev_service import served
from tests.replica import ROOT
from tests.sdks import environments

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.long, pytest.mark.timeout(300)]

PAGE = ROOT / "docs" / "how-to" / "openai.md"


async def test_every_line_of_python_runs(tmp_path: Path) -> None:
    """The page's Python blocks run in order as one program."""
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    python = await environments.python()

    with served(tmp_path) as address:
        program = "".join(blocks).replace("http://127.0.0.1:8080", address)
        said = await environments.run(python, "-c", program, cwd=tmp_path)

    assert f"{address}/api/v1/images/" in said.decode()
    assert (tmp_path / "lighthouse.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "dawn.png").read_bytes().startswith(b"\x89PNG")
