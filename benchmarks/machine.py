"""The cores of this machine, and how programs are bound to them."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.figures import Measure
    from benchmarks.load import Load
    from tests.replica import Replica

ROOT = Path(__file__).parents[1]

_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True, slots=True)
class Cores:
    """One core for the server, the others for everything else.

    Both are empty if there is only one core or no way to bind to it.
    """

    server: frozenset[int]
    others: frozenset[int]

    @classmethod
    def of_this_machine(cls) -> Cores:
        """Take the last core that this process may use for the server."""
        if not hasattr(os, "sched_getaffinity"):
            return cls(frozenset(), frozenset())
        *others, last = sorted(os.sched_getaffinity(0))
        if not others:
            return cls(frozenset(), frozenset())
        return cls(frozenset({last}), frozenset(others))

    @property
    def everything(self) -> frozenset[int]:
        """All cores, for several replicas together."""
        return self.server | self.others


@contextmanager
def kept_on(cores: frozenset[int]) -> Iterator[None]:
    """Bind this process, and all that it starts meanwhile, to *cores*."""
    if not cores:
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def cpu_seconds(pid: int) -> float:
    """Return the processor time of a process, in steps of 10 ms."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    # proc(5): utime and stime are fields 14 and 15; ours begin with the third.
    return (int(fields[11]) + int(fields[12])) / _TICKS_PER_SECOND


def cpu_for_each(service: Replica, load: Load) -> Measure:
    """Return a measure of a replica's processor time for each answer."""

    async def measure(seconds: float) -> float:
        """Return the microseconds for each answer."""
        before = cpu_seconds(service.process.pid)
        answered, _ = await load.count(seconds)
        return (cpu_seconds(service.process.pid) - before) / answered * 1e6

    return measure


def resident_bytes(pid: int) -> int:
    """Return the resident memory of a process."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE_BYTES


def description() -> dict[str, str]:
    """Return the kind of this machine, without its name."""
    return {
        "processor": _processor(),
        "cores": str(os.cpu_count()),
        "system": f"{platform.system()} {platform.release().partition('-')[0]}",
        "python": platform.python_version(),
        "redis": _version("redis-server", "--version"),
        "nginx": _version("nginx", "-v"),
        "node": _version("node", "--version"),
        "load": "wrk" if shutil.which("wrk") else "asyncio",
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    names = [line.partition(":")[2] for line in lines if line.startswith("model name")]
    return names[0].strip() if names else platform.machine()


def _version(program: str, option: str) -> str:
    if shutil.which(program) is None:
        return "absent"
    said = subprocess.run([program, option], capture_output=True, text=True, check=True)
    words = (said.stdout + said.stderr).split()
    numbered = [word for word in words if any(letter.isdigit() for letter in word)]
    return numbered[0].rpartition("=")[2].rpartition("/")[2]
