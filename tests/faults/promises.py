"""Whether a history keeps the promises of `design.md`.

It is pure, and each broken promise is one sentence.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from tests.faults.history import (
    COSTLY,
    OK,
    REDIS_OUTAGES,
    SLACK_SECONDS,
    Asked,
    Kind,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from tests.faults.history import Call, Fault, History

# By when a replica knows that Redis is unavailable, and a leader that held its lease
# before has called its provider.
KNOWN_AFTER_SECONDS = 2.5


def violations(history: History) -> list[str]:
    """Return every broken promise."""
    checks = (
        _flawed(history),
        _paid_too_often(history),
        _answered_differently(history),
        _served_after_replacement(history),
        _paid_in_the_dark(history),
        _took_too_long(history),
        _lost_without_a_fault(history),
        history.left_behind,
    )
    return [violation for check in checks for violation in check]


def _flawed(history: History) -> Iterator[str]:
    return (f"{_name(one)}: {one.flaw}" for one in history.asked if one.flaw)


def _paid_too_often(history: History) -> Iterator[str]:
    for prompt, calls in history.calls_of().items():
        paid = [call for call in calls if not call.failed]
        excuses = _excuses(history, prompt, calls)
        # After the hold of an ambiguous end the prompt may be paid for once more.
        lost = sum(call.lost for call in paid)
        allowed = 1 + len(history.replacements(prompt)) + len(excuses) + lost
        if len(paid) > allowed:
            yield (
                f"{prompt!r} was paid for {len(paid)} times, {allowed} allowed "
                f"by {[fault.kind.value for fault in excuses]}"
            )


def _excuses(history: History, prompt: str, calls: Iterable[Call]) -> list[Fault]:
    """Return the costly faults that hit while a prompt was in flight."""
    flights = [(call.began, _landed(history, prompt, call)) for call in calls]
    return [
        fault
        for fault in history.faults
        if fault.kind in COSTLY
        and any(
            fault.began < landed + SLACK_SECONDS and began < fault.ended + SLACK_SECONDS
            for began, landed in flights
        )
    ]


def _landed(history: History, prompt: str, call: Call) -> float:
    """Return the time at which a painting was first seen, so surely committed."""
    return min(
        (
            one.ended
            for one in history.pictures()
            if one.prompt == prompt and one.ended >= call.ended
        ),
        default=float("inf"),
    )


def _answered_differently(history: History) -> Iterator[str]:
    for prompt, digests in history.pictures_of().items():
        allowed = 1 + len(history.replacements(prompt))
        if len(digests) > allowed:
            yield (
                f"{prompt!r} was answered with {len(digests)} pictures, "
                f"{allowed} allowed"
            )


def _served_after_replacement(history: History) -> Iterator[str]:
    """Return pictures served after a purge or a refresh had replaced them."""
    by_prompt: dict[str, list[Asked]] = defaultdict(list)
    for one in history.pictures():
        by_prompt[one.prompt].append(one)
    for prompt, pictures in by_prompt.items():
        for change in history.replacements(prompt):
            if change.status != OK:
                continue
            old = {one.digest for one in pictures if one.ended < change.began}
            for one in pictures:
                if one.began > change.ended and one.digest in old:
                    yield f"{_name(one)}: a picture from before {_name(change)}"


def _paid_in_the_dark(history: History) -> Iterator[str]:
    woken = [f.ended for f in history.faults if f.kind is Kind.REPLICA_PAUSED]
    for outage in history.faults:
        if outage.kind not in REDIS_OUTAGES:
            continue
        for call in history.calls:
            is_dark = (
                outage.began + KNOWN_AFTER_SECONDS
                < call.began
                < outage.ended - SLACK_SECONDS
            )
            # A replica that slept meanwhile could not know.
            is_sleepy = any(abs(call.began - at) < KNOWN_AFTER_SECONDS for at in woken)
            if is_dark and not is_sleepy:
                yield f"{call.prompt!r} was paid for while {outage.kind.value}"


def _took_too_long(history: History) -> Iterator[str]:
    for one in history.asked:
        slept = sum(
            max(0.0, min(one.ended, fault.ended) - max(one.began, fault.began))
            for fault in _faults_of(history, one)
            if fault.kind is Kind.REPLICA_PAUSED
        )
        took = one.ended - one.began - slept
        if took > history.deadline_seconds:
            yield f"{_name(one)}: took {took:.1f} s"


def _lost_without_a_fault(history: History) -> Iterator[str]:
    for one in history.lost():
        if not any(
            fault.kind is Kind.REPLICA_KILLED
            and fault.began < one.ended + SLACK_SECONDS
            and one.began < fault.ended + SLACK_SECONDS
            for fault in _faults_of(history, one)
        ):
            yield f"{_name(one)}: the connection was lost, its replica lived"


def _faults_of(history: History, one: Asked) -> Iterator[Fault]:
    return (fault for fault in history.faults if fault.replica == one.replica)


def _name(one: Asked) -> str:
    return (
        f"{one.op.value} {one.prompt!r} at replica {one.replica} "
        f"({one.began:.2f} to {one.ended:.2f} s: {one.status} {one.code}".rstrip()
        + ")"
    )
