"""`python -m app dev` in a process of its own, as a reader of the documents has it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING
from urllib.error import HTTPError
from urllib.request import urlopen

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[1]
READY_WITHIN_SECONDS = 20.0


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """Run `python -m app dev` in *folder* on a free port; yield its address."""
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(ROOT),
        "SHUTDOWN_GRACE_SECONDS": "1",
    }
    with subprocess.Popen(
        [sys.executable, "-m", "app", "dev", "--port", "0"],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        assert process.stdout is not None
        try:
            said = "".join(_first_lines(process.stdout))
            found = re.search(r"address +(\S+)", said)
            assert found is not None, said
            _until_ready(found[1])
            yield found[1]
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(timeout=30)


def _until_ready(address: str) -> None:
    deadline = time.monotonic() + READY_WITHIN_SECONDS
    while time.monotonic() < deadline:
        try:
            with urlopen(f"{address}/readyz"):
                return
        except HTTPError:
            time.sleep(0.05)
    raise AssertionError("the service did not become ready")


def _first_lines(output: IO[str]) -> Iterator[str]:
    """Yield what the service says until it is listening."""
    for line in output:
        yield line
        if "listening port=" in line:
            return
