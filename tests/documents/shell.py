"""The examples of a page, run in a shell as they stand."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
ADDRESS = "http://127.0.0.1:8080"


def blocks(page: str, language: str = "sh") -> list[str]:
    """Return the examples of `docs/{page}` in one language, in order."""
    text = (DOCS / page).read_text()
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


def run(script: str, folder: Path, address: str, **variables: str) -> str:
    """Run *script* in *folder* against the service at *address*.

    Returns what it printed. `python` is this one, and it finds `app`.
    """
    programs = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script.replace(ADDRESS, address)],
        cwd=folder,
        env={
            "HOME": str(folder),
            "PATH": programs,
            "PYTHONPATH": str(ROOT),
            **variables,
        },
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, f"{script}\n{done.stdout}\n{done.stderr}"
    return done.stdout
