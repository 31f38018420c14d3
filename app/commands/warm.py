"""`warm`: paint the prompts of a file through a running service, before users ask."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from contextlib import aclosing
from dataclasses import dataclass, field
from decimal import Decimal
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING

from tqdm import tqdm

from app.client import Paintonce, PaintonceError
from app.commands.failed import Failed
from app.commands.progress_bar import progress_bar
from app.commands.prompt_file import BadLine, PromptFile
from app.environment import environment
from app.errors import InvalidParameter
from app.storage.storage_key import Project

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from app.commands.prompt_file import Line

API_KEY = "PAINTONCE_API_KEY"
INTERRUPTED = 130

# These concern every line: the rest is left for another run.
_NO_USE_GOING_ON = frozenset(
    {"unreachable", "timed_out", "generation_disabled", "budget_exhausted"}
)
_NOT_PERMITTED = frozenset({HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN})


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe `warm`."""
    parser.add_argument(
        "file",
        type=Path,
        metavar="FILE",
        help="a prompt a line, or a JSON object of parameters a line",
    )
    parser.add_argument("--project", metavar="ORG/PROJECT", help="of an admin key")
    parser.add_argument(
        "--url", default="http://127.0.0.1:8080", help="the service (%(default)s)"
    )
    parser.add_argument(
        "--concurrency",
        type=_concurrency,
        default=4,
        metavar="N",
        help="pictures at once (%(default)s)",
    )


async def warm(file: Path, project: str | None, url: str, concurrency: int) -> int:
    """Paint what is not painted yet; print what it took as one line of JSON.

    A second run goes on where the first one ended: what is done is what HEAD
    finds.
    """
    prompts = PromptFile(file)
    try:
        named = str(Project.parse(project)) if project is not None else None
        key = environment().get(API_KEY)
        paintonce = Paintonce(url, key, named, final_codes=_NO_USE_GOING_ON)
        total = await asyncio.to_thread(prompts.count)
        run = WarmRun(paintonce)
        status = await run.paint(prompts, total, concurrency)
    except InvalidParameter as error:
        raise Failed(error.detail) from error
    except ValueError as error:
        raise Failed(f"--url: {error}") from error
    except OSError as error:
        raise Failed(f"{file}: {error.strerror}") from error
    print(json.dumps(run.summary()))
    return status


@dataclass
class WarmRun:
    """One run: its sums, and how far it is."""

    paintonce: Paintonce
    hits: int = 0
    misses: int = 0
    failures: int = 0
    spend: Decimal = Decimal(0)
    started_at: float = field(default_factory=time.monotonic)
    _is_stopped: bool = False
    # One worker at a time takes the next line.
    _taking: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def paint(
        self, prompts: PromptFile, total: int | None, concurrency: int
    ) -> int:
        """Paint all lines, at most *concurrency* at once; return the exit status."""
        async with (
            progress_bar(total, "warm", "picture") as bar,
            aclosing(prompts.lines()) as lines,
        ):
            try:
                async with self.paintonce, asyncio.TaskGroup() as workers:
                    for _ in range(concurrency):
                        workers.create_task(self._work(lines, bar.update))
            except asyncio.CancelledError:
                # Ctrl-C. What is being painted goes on, and is found next time.
                return INTERRUPTED
            done = int(bar.n)
        if self._is_stopped:
            _tell_of_the_rest(None if total is None else total - done)
        return 1 if self.failures or self._is_stopped else 0

    async def _work(
        self,
        lines: AsyncGenerator[Line | BadLine, None],
        done: Callable[[], object],
    ) -> None:
        while (line := await self._next(lines)) is not None:
            if isinstance(line, BadLine):
                self.fail(line.number, line.code, line.detail)
            else:
                await self._try(line)
            done()

    async def _next(
        self, lines: AsyncGenerator[Line | BadLine, None]
    ) -> Line | BadLine | None:
        async with self._taking:
            if self._is_stopped:
                return None
            try:
                return await anext(lines, None)
            except OSError as error:
                self._is_stopped = True
                _print(f"The file can't be read on: {error.strerror}.")
                return None

    async def _try(self, line: Line) -> None:
        try:
            await self._paint(line)
        except PaintonceError as error:
            self._is_stopped |= _is_of_every_line(error)
            self.fail(line.number, error.code, error.detail)

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
            # of no other client, however many paint in the same project.
            entry = await self.paintonce.entry(picture.prompt_hash)
        except PaintonceError as error:
            _print(
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
            # An answer without a body names no code, of a wrong key neither; the
            # next one will.
            return False

    def fail(self, number: int, code: str, detail: str) -> None:
        """Count and name a line that failed."""
        self.failures += 1
        _print(f"line {number}: {code}: {detail}")

    def summary(self) -> dict[str, int | float]:
        """Return the sums of this run; *spend* is in the operator's currency."""
        return {
            "hits": self.hits,
            "misses": self.misses,
            "failures": self.failures,
            "seconds": round(time.monotonic() - self.started_at, 3),
            "spend": float(self.spend),
        }


def _is_of_every_line(error: PaintonceError) -> bool:
    return error.code in _NO_USE_GOING_ON or error.status in _NOT_PERMITTED


def _tell_of_the_rest(left: int | None) -> None:
    if left != 0:
        rest = "The rest was" if left is None else f"{left} lines were"
        _print(f"{rest} not tried. Run it again: it goes on there.")


def _print(sentence: str) -> None:
    """Print *sentence* on standard error, above the progress bar."""
    tqdm.write(sentence, file=sys.stderr)


def _concurrency(text: str) -> int:
    number = int(text)
    if not 1 <= number <= 100:  # noqa: PLR2004 - as many as aiohttp connects
        raise argparse.ArgumentTypeError("a concurrency is from 1 to 100")
    return number
