"""`warm`: paint the prompts of a file through a running service, before users ask."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING

from tqdm import tqdm

from app.client import Paintonce, PaintonceError
from app.commands.failed import Failed
from app.commands.progress_bar import progress_bar
from app.commands.prompt_file import read_prompt_file
from app.environment import environment
from app.errors import InvalidParameter
from app.storage.storage_key import Project

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from app.commands.prompt_file import Line

API_KEY = "PAINTONCE_API_KEY"
INTERRUPTED = 130

# These befall every line alike: the rest is left for another run.
_NO_USE_GOING_ON = frozenset({"unreachable", "timed_out", "unauthenticated"})


async def warm(file: Path, project: str | None, url: str, concurrency: int) -> int:
    """Paint what is not painted yet; print what it took as one line of JSON.

    Bad lines are told before anything is painted. A second run goes on where
    the first one ended: what is done is what HEAD finds.
    """
    try:
        named = str(Project.parse(project)) if project is not None else None
        paintonce = Paintonce(url, environment().get(API_KEY), named)
        lines, bad = read_prompt_file(file)
    except InvalidParameter as error:
        raise Failed(error.detail) from error
    except ValueError as error:
        raise Failed(f"--url: {error}") from error
    except OSError as error:
        raise Failed(f"{file}: {error.strerror}") from error
    run = WarmRun(paintonce)
    for line in bad:
        run.fail(line.number, line.code, line.detail)
    status = await run.paint(lines, concurrency)
    print(json.dumps(run.summary()))
    return status


@dataclass
class WarmRun:
    """One run: its sums, and the lines that it has not taken yet."""

    paintonce: Paintonce
    hits: int = 0
    misses: int = 0
    failures: int = 0
    spend: Decimal = Decimal(0)
    started_at: float = field(default_factory=time.monotonic)
    _is_stopped: bool = False

    async def paint(self, lines: list[Line], concurrency: int) -> int:
        """Paint *lines*, at most *concurrency* at once; return the exit status."""
        waiting = iter(lines)
        async with progress_bar(len(lines), "warm", "picture") as bar:
            try:
                async with self.paintonce, asyncio.TaskGroup() as workers:
                    for _ in range(concurrency):
                        workers.create_task(self._work(waiting, bar.update))
            except asyncio.CancelledError:
                # Ctrl-C. What is being painted goes on, and is found next time.
                return INTERRUPTED
        left = sum(1 for _ in waiting)
        if left:
            _tell(f"{left} lines were not tried. Run it again: it goes on there.")
        return 1 if self.failures or left else 0

    async def _work(self, waiting: Iterator[Line], done: Callable[[], object]) -> None:
        while not self._is_stopped and (line := next(waiting, None)) is not None:
            try:
                await self._paint(line)
            except PaintonceError as error:
                self._is_stopped |= error.code in _NO_USE_GOING_ON
                self.fail(line.number, error.code, error.detail)
            done()

    async def _paint(self, line: Line) -> None:
        if await self._is_painted(line):
            self.hits += 1
            return
        picture = await self.paintonce.generate(line.prompt, **line.parameters)
        if picture.status == "HIT":
            self.hits += 1
            return
        self.misses += 1
        try:
            # One answer of each generation is a MISS. So its price is ours, and
            # nobody else's, however many paint in the same project.
            entry = await self.paintonce.entry(picture.prompt_hash)
        except PaintonceError as error:
            _tell(
                f"line {line.number}: painted, but its price is not in the spend: "
                f"{error.code}"
            )
        else:
            self.spend += Decimal(str(entry["price"]))

    async def _is_painted(self, line: Line) -> bool:
        if "references" in line.parameters:
            return False
        try:
            return await self.paintonce.is_painted(line.prompt, **line.parameters)
        except PaintonceError as error:
            if error.code in _NO_USE_GOING_ON:
                raise
            # An answer without a body names no code; the next one will.
            return False

    def fail(self, number: int, code: str, detail: str) -> None:
        """Count and name a line that failed."""
        self.failures += 1
        _tell(f"line {number}: {code}: {detail}")

    def summary(self) -> dict[str, int | float]:
        """Return what this run did; *spend* is in the operator's currency."""
        return {
            "hits": self.hits,
            "misses": self.misses,
            "failures": self.failures,
            "seconds": round(time.monotonic() - self.started_at, 3),
            "spend": float(self.spend),
        }


def _tell(sentence: str) -> None:
    """Say *sentence* on standard error, above the progress bar."""
    tqdm.write(sentence, file=sys.stderr)
