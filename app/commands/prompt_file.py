"""The file of `warm`: one prompt a line, or a JSON object of parameters a line."""

from __future__ import annotations

import asyncio
import errno
import os
import stat
from contextlib import aclosing
from typing import TYPE_CHECKING, NamedTuple, cast

from app.api.parameters import from_json
from app.errors import InvalidParameter
from app.http.http_errors import MalformedRequest
from app.http.json_bodies import parse_object
from app.http.problems import row_for

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

    from app.client import Parameters

# A JSON body with a long prompt and sixteen references has less.
LONGEST_LINE_BYTES = 1_048_576

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class Line(NamedTuple):
    """One line and what it asks for; *number* counts from 1."""

    number: int
    prompt: str
    parameters: Parameters


class BadLine(NamedTuple):
    """A line that no service would paint; *code* is what it would answer."""

    number: int
    code: str
    detail: str


class _EveryModel:
    """Any model: only the service knows which there are, and what they accept."""

    def alias_of(self, name: str) -> str:
        """Return *name*."""
        return name

    def accepts(self, alias: str, option: str) -> bool:  # noqa: ARG002 - the service decides
        """Return True."""
        return True


class PromptFile:
    """The lines of *file*, read as they are asked for.

    A line that begins with `{` is JSON, and blank ones count as none. Each is
    held to the rules of live generation. Every method raises `OSError`.
    """

    def __init__(self, file: Path) -> None:
        self._file = file

    def count(self) -> int | None:
        """Return how many lines there are; None for a pipe, which is read once."""
        mode = self._file.stat().st_mode
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        if not stat.S_ISREG(mode):
            return None
        with self._file.open("rb") as opened:
            return sum(
                1 for line in opened if line.removeprefix(_BYTE_ORDER_MARK).strip()
            )

    async def lines(self) -> AsyncGenerator[Line | BadLine, None]:
        """Yield each line, good or bad."""
        number = 0
        async with aclosing(self._raw()) as raw:
            async for line in raw:
                number += 1
                stripped = line.removeprefix(_BYTE_ORDER_MARK).strip()
                if not stripped:
                    continue
                try:
                    yield _read(number, stripped)
                except (InvalidParameter, MalformedRequest) as error:
                    yield BadLine(number, row_for(error).code, error.detail)

    async def _raw(self) -> AsyncGenerator[bytes, None]:
        opened = await asyncio.to_thread(self._file.open, "rb")
        with opened:
            if self._file.is_file() or opened.isatty():
                for line in opened:
                    yield line
                return
            # The writer of a pipe may be slow.
            reader = asyncio.StreamReader(limit=LONGEST_LINE_BYTES)
            protocol = asyncio.StreamReaderProtocol(reader)
            loop = asyncio.get_running_loop()
            transport, _ = await loop.connect_read_pipe(lambda: protocol, opened)
            try:
                while line := await reader.readline():
                    yield line
            except ValueError as error:
                raise OSError(errno.EMSGSIZE, "A line is too long") from error
            finally:
                transport.close()


def _read(number: int, line: bytes) -> Line:
    if line.startswith(b"{"):
        document = parse_object(line)
    else:
        try:
            document = {"prompt": line.decode()}
        except UnicodeDecodeError:
            raise InvalidParameter("prompt", "prompt is not UTF-8.") from None
    from_json(document, _EveryModel())
    prompt = document.pop("prompt")
    return Line(number, prompt, cast("Parameters", document))
