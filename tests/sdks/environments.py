"""Environments of clients, each installed once, by its lock file."""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
NODE = HERE / "node"
NEXT = HERE / "next"
_UV = (sys.executable, "-m", "uv")


async def run(*command: str, cwd: Path = HERE) -> bytes:
    """Return the output of *command*; its failure fails the test."""
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, cwd=cwd
    )
    said, _ = await process.communicate()
    assert process.returncode == 0, command
    return said


def _folder(kind: str, lock: Path) -> Path:
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
    version = hashlib.sha256(lock.read_bytes()).hexdigest()[:16]
    return cache / "paintonce" / f"{kind}-{version}"


async def python() -> str:
    """Return the interpreter that has the vendors' own clients."""
    lock = HERE / "requirements.lock"
    folder = _folder("sdks-python", lock)
    done = folder / "installed"
    program = str(folder / "bin" / "python")
    if not done.exists():
        shutil.rmtree(folder, ignore_errors=True)
        folder.parent.mkdir(parents=True, exist_ok=True)
        await run(*_UV, "venv", "--quiet", "--python", sys.executable, str(folder))
        await run(
            *(*_UV, "pip", "install", "--quiet", "--python", program),
            *("--require-hashes", "-r", str(lock)),
        )
        done.touch()
    return program


async def node(programs: Path = NODE) -> Path:
    """Return a folder with the files of *programs* and their packages.

    Without Node the test fails in continuous integration, and is skipped elsewhere.
    """
    npm = shutil.which("npm")
    if npm is None or shutil.which("node") is None:
        reason = "Node is not installed (Debian: apt-get install nodejs npm)"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    folder = _folder(f"sdks-{programs.name}", programs / "package-lock.json")
    folder.mkdir(parents=True, exist_ok=True)
    _copy_files(programs, folder)
    done = folder / "installed"
    if not done.exists():
        await run(npm, "ci", "--no-audit", "--no-fund", "--silent", cwd=folder)
        done.touch()
    return folder


def _copy_files(source: Path, folder: Path) -> None:
    for file in source.iterdir():
        if file.is_file():
            shutil.copy(file, folder)
