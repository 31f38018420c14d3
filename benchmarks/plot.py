"""A plot without a plotting library: ratios as bars, with spread and goal."""

from __future__ import annotations

import math
from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from benchmarks.figures import Line

_WIDTH, _LEFT, _BAR, _STEP, _TOP = 900, 470, 14, 26, 40
_INK, _MET, _MISSED, _NO_GOAL = "#222", "#2a7f62", "#b3402a", "#6b7a8f"


def bars(lines: Sequence[Line]) -> str:
    """Return an SVG of all ratios: bar, spread as a line, goal as a tick."""
    shown = [line for line in lines if line.theirs and not math.isnan(line.value)]
    longest = max([1.0, *(max(line.high, line.goal or 0) for line in shown)])
    scale = (_WIDTH - _LEFT - 60) / longest
    drawn = [part for at, line in enumerate(shown) for part in _bar(line, at, scale)]
    title = "Requests per second of the service, as a ratio (tick: the goal)"
    return _picture(title, drawn, _TOP + _STEP * len(shown) + 10)


def curves(
    title: str, series: dict[str, list[tuple[float, float]]], ticks: Iterable[float]
) -> str:
    """Return an SVG of curves from 0 to 1 over a logarithmic axis of *ticks*."""
    ticks = list(ticks)
    low, high = math.log10(ticks[0]), math.log10(ticks[-1])
    height, left, bottom = 420, 70, 370

    def place(x: float, y: float) -> tuple[float, float]:
        across = (math.log10(x) - low) / (high - low)
        return left + across * (_WIDTH - left - 220), bottom - y * (bottom - _TOP)

    drawn = []
    for tick in ticks:
        x, y = place(tick, 0)
        drawn.append(_text(x, y + 18, f"{tick:.3%}".rstrip("0%").rstrip(".") + "%"))
    for share in (0, 0.25, 0.5, 0.75, 1):
        x, y = place(ticks[0], share)
        drawn += [
            _text(20, y + 4, f"{share:.0%}"),
            _line(x, y, _WIDTH - 220, y, "#ddd"),
        ]
    for name, points in series.items():
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in (place(*p) for p in points))
        drawn.append(f'<polyline points="{path}" fill="none" stroke="{_MET}"/>')
        x, y = place(*points[-1])
        drawn.append(_text(x + 6, y + 4, name))
    return _picture(title, drawn, height)


def _bar(line: Line, at: int, scale: float) -> list[str]:
    y = _TOP + _STEP * at
    middle = y + _BAR / 2
    colour = {None: _NO_GOAL, True: _MET, False: _MISSED}[line.is_met]
    label = f"{line.row}  vs {line.against}"
    drawn = [
        _text(10, y + 12, label),
        (
            f'<rect x="{_LEFT}" y="{y}" width="{line.value * scale:.1f}" '
            f'height="{_BAR}" fill="{colour}"/>'
        ),
        _line(
            _LEFT + line.low * scale, middle, _LEFT + line.high * scale, middle, _INK
        ),
        _text(_LEFT + line.high * scale + 6, y + 12, f"{line.value:.2f}"),
    ]
    if line.goal is not None:
        x = _LEFT + line.goal * scale
        drawn.append(_line(x, y - 4, x, y + _BAR + 4, _INK))
    return drawn


def _line(x1: float, y1: float, x2: float, y2: float, colour: str) -> str:
    ends = f'x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"'
    return f'<line {ends} stroke="{colour}"/>'


def _text(x: float, y: float, text: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" fill="{_INK}">{escape(text)}</text>'


def _picture(title: str, drawn: Sequence[str], height: float) -> str:
    return "\n".join(
        [
            (
                '<svg xmlns="http://www.w3.org/2000/svg" '
                f'viewBox="0 0 {_WIDTH} {height}" '
                'font-family="sans-serif" font-size="12">'
            ),
            f'<rect width="{_WIDTH}" height="{height}" fill="#fff"/>',
            _text(10, 22, title),
            *drawn,
            "</svg>\n",
        ]
    )
