"""The Prefer header in each form of RFC 7240."""

from __future__ import annotations

import pytest

from app.http.preferences import preference_of


@pytest.mark.parametrize(
    ("line", "applied"),
    [
        ("respond-async", "respond-async"),
        ("Respond-Async; foo=bar", "respond-async"),
        ("wait=0", "wait=0"),
        ("wait=10", "wait=10"),
        ('wait="10"', "wait=10"),
        ("wait = 10", "wait=10"),
        ("WAIT=010", "wait=10"),
        ("wait=100", "wait=60"),
        ("wait=99999999999999999999", "wait=60"),
        ("handling=lenient, wait=10", "wait=10"),
        ("wait=soon, respond-async", "respond-async"),
        ("wait=10, respond-async", "wait=10"),
        ('note="a, wait=1, b", wait=10', "wait=10"),
    ],
)
def test_a_wish_is_granted_and_named(line: str, applied: str) -> None:
    """The first readable preference is applied and named, within the longest wait."""
    granted = preference_of([line], max_seconds=60)

    assert granted is not None
    assert granted.applied == applied
    assert f"{granted.seconds:.0f}" == (applied.partition("=")[2] or "0")


@pytest.mark.parametrize(
    "line",
    ["", "wait", "wait=", "wait=-1", "wait=1.5", "wait=soon", 'a="respond-async"'],
)
def test_what_is_no_wish_is_ignored(line: str) -> None:
    """An unreadable preference is ignored (RFC 7240, 2)."""
    assert preference_of([line], max_seconds=60) is None
