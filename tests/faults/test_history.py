"""Planted broken promises are found in a history, and no others."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.faults.history import Asked, Call, Fault, History, Kind, Op
from tests.faults.promises import violations

PROMPT = "a lighthouse in a storm"
GOOD = Asked(
    op=Op.GET,
    prompt=PROMPT,
    replica=1,
    began=10.0,
    ended=10.5,
    status=200,
    digest="first",
)
PAID = Call(prompt=PROMPT, began=10.1, ended=10.4)
PAID_AGAIN = Call(prompt=PROMPT, began=10.3, ended=10.6)
KILLED = Fault(kind=Kind.REPLICA_KILLED, began=10.2, ended=10.2, replica=2)


def history(*events: Asked | Call | Fault) -> History:
    """Return a history of one good request and call, and *events*."""
    made = History(deadline_seconds=5.0, asked=[GOOD], calls=[PAID])
    for event in events:
        match event:
            case Asked():
                made.asked.append(event)
            case Call():
                made.calls.append(event)
            case Fault():
                made.faults.append(event)
    return made


def later(one: Asked, seconds: float, **more: Any) -> Asked:
    """Return a copy of *one*, *seconds* later."""
    return replace(one, began=one.began + seconds, ended=one.ended + seconds, **more)


PURGED = later(GOOD, 5, op=Op.PURGE, digest="")
REFRESHED = replace(PURGED, op=Op.REFRESH)
OUTAGE = Fault(kind=Kind.REDIS_FROZEN, began=2.0, ended=9.5)


@pytest.mark.parametrize(
    "events",
    [
        (),
        # A fault that hits while the prompt is in flight excuses one more call.
        (PAID_AGAIN, KILLED),
        (PAID_AGAIN, replace(KILLED, kind=Kind.REDIS_FLUSHED, replica=None)),
        # A call that failed brought no picture.
        (replace(PAID_AGAIN, failed=True),),
        # A purge or a refresh is a new picture, and its own payment.
        (PURGED, replace(PAID, began=16.0, ended=16.2), later(GOOD, 6, digest="new")),
        (
            REFRESHED,
            replace(PAID, began=15.0, ended=15.2),
            later(GOOD, 6, digest="new"),
        ),
        # A request from before the end of a purge may still get the old picture.
        (PURGED, later(GOOD, 5.2)),
        # A purge that did not succeed removes nothing.
        (replace(PURGED, status=503), later(GOOD, 6)),
        # A leader that called before its replica could know.
        (replace(OUTAGE, ended=12.0, began=9.9),),
        # A client's reset, a killed replica, a paused one.
        (replace(GOOD, op=Op.RESET, status=None, digest=""),),
        (replace(GOOD, status=None, digest="", replica=2), KILLED),
        (
            replace(GOOD, ended=17.0),
            Fault(kind=Kind.REPLICA_PAUSED, began=11.0, ended=14.0, replica=1),
        ),
    ],
)
def test_what_is_allowed_is_no_violation(
    events: tuple[Asked | Call | Fault, ...],
) -> None:
    """A history of allowed events has no violations."""
    assert violations(history(*events)) == []


@pytest.mark.parametrize(
    ("events", "sentence"),
    [
        ((PAID_AGAIN,), "paid for 2 times, 1 allowed"),
        # One fault excuses one call.
        ((PAID_AGAIN, PAID_AGAIN, KILLED), "paid for 3 times, 2 allowed"),
        # Neither one long before nor a store that was unavailable excuses anything.
        ((PAID_AGAIN, replace(KILLED, began=5.0, ended=5.0)), "paid for 2 times"),
        (
            (PAID_AGAIN, replace(KILLED, kind=Kind.STORE_FROZEN, replica=None)),
            "paid for 2 times",
        ),
        # Nor one after the picture was seen.
        (
            (
                replace(PAID, began=20.0, ended=20.2),
                replace(KILLED, began=15.0, ended=15.0),
            ),
            "paid for 2 times",
        ),
        ((later(GOOD, 1, digest="second"),), "answered with 2 pictures"),
        ((PURGED, later(GOOD, 6)), "a picture from before"),
        ((REFRESHED, later(GOOD, 6)), "a picture from before"),
        ((replace(GOOD, flaw="not of the digest that was said"),), "not of the digest"),
        ((replace(OUTAGE, ended=12.0),), "paid for while redis frozen"),
        (
            (replace(OUTAGE, kind=Kind.REDIS_RESTARTED, ended=12.0),),
            "paid for while redis restarted",
        ),
        ((replace(GOOD, ended=15.6),), "took 5.6 s"),
        # Only the pause of its own replica excuses a slow answer.
        (
            (
                replace(GOOD, ended=17.0),
                Fault(kind=Kind.REPLICA_PAUSED, began=11.0, ended=14.0, replica=2),
            ),
            "took 7.0 s",
        ),
        ((replace(GOOD, status=None, digest=""),), "its replica lived"),
        # Another replica's death is no excuse either.
        ((replace(GOOD, status=None, digest=""), KILLED), "its replica lived"),
    ],
)
def test_a_planted_violation_is_found(
    events: tuple[Asked | Call | Fault, ...], sentence: str
) -> None:
    """Each broken promise is reported once, in one sentence."""
    found = violations(history(*events))

    assert len(found) == 1
    assert sentence in found[0]


def test_what_is_left_behind_is_a_violation() -> None:
    """A leftover lease or an entry without its picture is reported."""
    made = history()
    made.left_behind.append("the entry of 'a kite' has no picture")

    assert violations(made) == ["the entry of 'a kite' has no picture"]


def test_a_takeover_is_measured_if_a_client_waited() -> None:
    """A takeover is the time from a leader's death to its followers' next call."""
    cut = replace(PAID, ended=10.2)
    again = replace(PAID, began=11.7, ended=12.0)
    followed = replace(GOOD, ended=12.1)

    waited = history(KILLED, again, followed)
    waited.calls[0] = cut
    none_waited = history(KILLED, again)
    none_waited.calls[0] = cut

    assert waited.takeovers() == [pytest.approx(1.5)]
    assert none_waited.takeovers() == []


def test_payments_beyond_the_first_are_counted() -> None:
    """Further calls for a prompt count unless they failed or followed a purge."""
    assert history().paid_again() == 0
    assert history(PAID_AGAIN).paid_again() == 1
    assert history(replace(PAID_AGAIN, failed=True)).paid_again() == 0
    assert history(PAID_AGAIN, PURGED).paid_again() == 0
