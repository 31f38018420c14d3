"""Figures of alternating rounds, and the table lines made of them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass, field
from statistics import median
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from benchmarks.load import Load
    from benchmarks.stage import Stage

Name = TypeVar("Name", bound=Hashable)

Measure = Callable[[float], Awaitable[float]]
"""Measures for so many seconds."""

OURS = "service"


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One comparison: *value* is a ratio to *against*, or a figure in *unit*.

    *ours* and *theirs* are the figures of every round, in the order in which
    they were measured; *low* and *high* the extremes of *value* over rounds.
    """

    row: str
    what: str
    against: str
    unit: str
    value: float
    low: float
    high: float
    goal: float | None = None
    at_least: bool = True
    ours: list[float] = field(default_factory=list)
    theirs: list[float] = field(default_factory=list)
    note: str = ""

    @property
    def is_met(self) -> bool | None:
        """Whether the goal is reached; None if there is none."""
        if self.goal is None:
            return None
        return self.value >= self.goal if self.at_least else self.value <= self.goal


async def alternate(
    measures: Mapping[Name, Measure], *, rounds: int, seconds: float
) -> dict[Name, list[float]]:
    """Measure in alternating rounds; the first round is thrown away."""
    figures: dict[Name, list[float]] = {name: [] for name in measures}
    for measure in measures.values():
        await measure(min(1.0, seconds))
    for _ in range(rounds):
        for name, measure in measures.items():
            figures[name].append(await measure(seconds))
    return figures


async def rates(stage: Stage, loads: Mapping[Name, Load]) -> dict[Name, list[float]]:
    """Return the requests per second of each load, in the rounds of *stage*."""
    return await alternate(
        {name: load.run for name, load in loads.items()},
        rounds=stage.rounds,
        seconds=stage.seconds,
    )


def ratios(
    row: str,
    what: str,
    figures: Mapping[str, list[float]],
    *,
    goals: Mapping[str, float] | None = None,
    unit: str = "requests/s",
) -> list[Line]:
    """Return a line for each of *figures* that ours are compared with."""
    ours = figures[OURS]
    return [
        Line(
            row=row,
            what=what,
            against=name,
            unit=unit,
            value=median(ours) / median(theirs),
            low=min(one / other for one, other in zip(ours, theirs, strict=True)),
            high=max(one / other for one, other in zip(ours, theirs, strict=True)),
            goal=(goals or {}).get(name),
            ours=ours,
            theirs=theirs,
        )
        for name, theirs in figures.items()
        if name != OURS
    ]


def single(
    row: str,
    what: str,
    values: Iterable[float],
    *,
    unit: str,
    at_most: float | None,
    note: str = "",
    against: str = "",
) -> Line:
    """Return a line for a figure that is compared only with its goal."""
    ours = list(values)
    return Line(
        row=row,
        what=what,
        against=against,
        unit=unit,
        value=median(ours),
        low=min(ours),
        high=max(ours),
        goal=at_most,
        at_least=False,
        ours=ours,
        note=note,
    )


def missing(row: str, what: str, against: str) -> Line:
    """Return a line for an alternative that is not installed on this machine."""
    nothing = float("nan")
    return Line(
        row=row,
        what=what,
        against=against,
        unit="",
        value=nothing,
        low=nothing,
        high=nothing,
        note="not on this machine",
    )
