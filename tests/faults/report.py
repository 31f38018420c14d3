"""A history as readable text."""

from __future__ import annotations

import statistics
from collections import Counter
from typing import TYPE_CHECKING, Any

from tests.faults.history import Op
from tests.faults.promises import violations

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tests.faults.history import History


def report(history: History, *, seed: int, seconds: float) -> str:
    """Return the events, and the broken promises."""
    takeovers = history.takeovers()
    calls = history.calls_of()
    ends = Counter(
        f"{one.op.value} {_class_of(one.status, one.code)}"
        for one in history.asked
        if one.op is not Op.RESET
    )
    broken = violations(history)
    lines = [
        f"seed {seed}, {seconds:g} s, {len(history.asked)} requests",
        _line("faults", Counter(fault.kind.value for fault in history.faults)),
        _line("ends", ends),
        _line("calls per prompt", Counter(map(len, calls.values()))),
        f"  {'failed calls':22}{sum(call.failed for call in history.calls)}",
        f"  {'lost calls':22}{sum(call.lost for call in history.calls)}, paid for",
        f"  {'money':22}{history.money}",
        f"  {'paid again':22}{history.paid_again()} times, without being asked to",
        _line(
            "pictures per prompt",
            Counter(len(seen) for seen in history.pictures_of().values()),
        ),
        f"  {'lost requests':22}{len(history.lost())}, all to killed replicas"
        if not broken
        else f"  {'lost requests':22}{len(history.lost())}",
        f"  {'takeovers':22}{_summary(takeovers)}",
        *(f"VIOLATION: {violation}" for violation in broken),
        "every promise was kept" if not broken else f"{len(broken)} violations",
    ]
    return "\n".join(lines)


def _line(name: str, counted: Counter[Any]) -> str:
    counts = ", ".join(f"{key}: {count}" for key, count in sorted(counted.items()))
    return f"  {name:22}{counts}"


def _class_of(status: int | None, code: str) -> str:
    return "lost" if status is None else f"{status} {code}".rstrip()


def _summary(seconds: Iterable[float]) -> str:
    known = sorted(seconds)
    if not known:
        return "none"
    return (
        f"{len(known)}, after {known[0]:.1f} to {known[-1]:.1f} s, "
        f"median {statistics.median(known):.1f} s"
    )
