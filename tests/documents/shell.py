"""The examples of a page, run unchanged in a shell."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from types import TracebackType

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
ADDRESS = "http://127.0.0.1:8080"
_END = "--- end of the block"


def blocks(page: str, language: str = "sh") -> list[str]:
    """Return the examples of `docs/{page}` in one language, in order."""
    text = (DOCS / page).read_text()
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


class Shell:
    """A bash in *folder*, where `python` is this one and finds `app`.

    It is a context manager. Variables that one block of commands sets are seen by the
    next ones; the first command that fails ends it. *variables* are its environment.
    """

    def __init__(self, folder: Path, **variables: str) -> None:
        programs = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        self._bash = subprocess.Popen(
            ["bash", "-euo", "pipefail"],
            cwd=folder,
            env={
                **variables,
                "HOME": str(folder),
                "PATH": programs,
                "PYTHONPATH": str(ROOT),
            },
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, commands: str) -> str:
        """Run *commands*, which must not fail; return their output."""
        assert self._bash.stdin is not None
        assert self._bash.stdout is not None
        # A command that reads standard input must not read the following commands.
        self._bash.stdin.write(f"{{\n{commands}\n}} < /dev/null\necho; echo {_END}\n")
        self._bash.stdin.flush()
        lines: list[str] = []
        for line in self._bash.stdout:
            if line.strip() == _END:
                return "".join(lines)
            lines.append(line)
        raise AssertionError(f"{commands}\n{''.join(lines)}")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._bash.kill()
        self._bash.communicate()
