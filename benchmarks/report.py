"""The printed table, and the JSON."""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from statistics import median
from typing import TYPE_CHECKING, Any

from benchmarks.machine import ROOT

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.figures import Line

PAGE = ROOT / "docs" / "explanation" / "performance.md"
PLOT = ROOT / "docs" / "explanation" / "performance.svg"
BEGIN, END = "<!-- benchmarks: begin -->", "<!-- benchmarks: end -->"

_HEAD = ("#", "what", "against", "measured", "result", "spread", "goal", "")
_VERDICTS = {None: "", True: "met", False: "missed"}


def document(
    lines: Sequence[Line], conditions: dict[str, Any], machine: dict[str, str]
) -> str:
    """Return all measurements as JSON."""
    shown = [
        {
            name: None if isinstance(value, float) and math.isnan(value) else value
            for name, value in (asdict(line) | {"is_met": line.is_met}).items()
        }
        for line in lines
    ]
    whole = {"machine": machine, "conditions": conditions, "lines": shown}
    return json.dumps(whole, indent=1) + "\n"


def table(lines: Sequence[Line]) -> str:
    """Return the table in aligned Markdown."""
    rows = [_HEAD, *map(_cells, lines)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    rows.insert(1, tuple("-" * width for width in widths))
    return "\n".join(f"| {' | '.join(map(str.ljust, row, widths))} |" for row in rows)


def write_page(text: str) -> None:
    """Replace the text between the marks of `docs/explanation/performance.md`."""
    page = PAGE.read_text()
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not end:
        raise ValueError(f"{PAGE.name} has no {BEGIN} ... {END}")
    PAGE.write_text(f"{before}{begin}\n\n{text}\n\n{end}{after}")


def conditions_in_words(conditions: dict[str, Any], machine: dict[str, str]) -> str:
    """Return one sentence about the conditions of the measurement."""
    pinned = "a core of its own" if conditions["pinned"] else "no core of its own"
    return (
        f"Measured {conditions['on']}: medians of {conditions['rounds']} alternating "
        f"rounds of {conditions['seconds']:g} s, {conditions['connections']} "
        f"connections from {machine['load']}, the server on {pinned}; "
        f"{machine['processor']}, {machine['cores']} cores, Python "
        f"{machine['python']}, Redis {machine['redis']}, nginx {machine['nginx']}, "
        f"Node {machine['node']}, {conditions['store']}."
    )


def _cells(line: Line) -> tuple[str, ...]:
    if math.isnan(line.value):
        return (line.row, line.what, line.against, line.note, "", "", "", "")
    sign = "≥" if line.at_least else "≤"
    goal = "" if line.goal is None else f"{sign} {_number(line.goal)}"
    verdict = _VERDICTS[line.is_met]
    if line.theirs:
        measured = f"{_number(median(line.ours))} / {_number(median(line.theirs))}"
        result = f"{line.value:.2f}"
    else:
        measured, result = line.note, f"{_number(line.value)} {line.unit}".strip()
    spread = f"{_number(line.low)} to {_number(line.high)}"
    return (line.row, line.what, line.against, measured, result, spread, goal, verdict)


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
