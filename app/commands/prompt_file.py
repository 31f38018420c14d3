"""The file of `warm`: one prompt a line, or a JSON object of parameters a line."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, cast

from app.api.parameters import from_json
from app.errors import InvalidParameter
from app.http.http_errors import MalformedRequest
from app.http.json_bodies import parse_object
from app.http.problems import row_for

if TYPE_CHECKING:
    from pathlib import Path

    from app.client import Parameters

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class Line(NamedTuple):
    """What one line asks for; *number* counts from 1."""

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


def read_prompt_file(file: Path) -> tuple[list[Line], list[BadLine]]:
    """Return the good lines and the bad ones; blank ones are neither.

    A line that begins with `{` is JSON. Each is held to the rules of live
    generation. Raises `OSError`.
    """
    good: list[Line] = []
    bad: list[BadLine] = []
    data = file.read_bytes().removeprefix(_BYTE_ORDER_MARK)
    for number, line in enumerate(data.split(b"\n"), start=1):
        if not line.strip():
            continue
        try:
            good.append(_read(number, line.strip()))
        except (InvalidParameter, MalformedRequest) as error:
            bad.append(BadLine(number, row_for(error).code, error.detail))
    return good, bad


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
