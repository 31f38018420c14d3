"""CircuitBreaker: stop asking a provider that fails again and again.

Closed, every call passes. After many failures in a row it opens, and no call
passes for a while; then one trial call at a time does, and the first that
succeeds closes it.
"""

from __future__ import annotations

import time
from datetime import timedelta
from typing import TYPE_CHECKING

from app.errors import ProviderFailed

if TYPE_CHECKING:
    from collections.abc import Callable

_FAILURES = 5
_REST_SECONDS = 10.0


class CircuitBreaker:
    """Opens after *failures* in a row, for *rest_seconds*; *clock* is monotonic."""

    def __init__(
        self,
        *,
        failures: int = _FAILURES,
        rest_seconds: float = _REST_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._failures = failures
        self._rest_seconds = rest_seconds
        self._clock = clock
        self._in_a_row = 0
        self._open_until: float | None = None
        self._on_trial = False
        self._age = 0

    @property
    def is_open(self) -> bool:
        """Whether no call may pass, or only one on trial."""
        return self._open_until is not None

    def check(self) -> None:
        """Raise `ProviderFailed` with a `retry_after` if no call may pass now."""
        if self._open_until is None:
            return
        rest = self._open_until - self._clock()
        if rest > 0 or self._on_trial:
            # While a trial is out nobody knows; a second is soon enough.
            raise ProviderFailed(
                "The provider has failed again and again and is given a rest.",
                retry_after=timedelta(seconds=max(rest, 1.0)),
            )

    def admit(self) -> int:
        """Let one call pass; return the number under which to report its end.

        Raises what `check` raises. Every admitted call must be reported.
        """
        self.check()
        self._on_trial = self._open_until is not None
        return self._age

    def report(self, admission: int, *, healthy: bool | None) -> None:
        """Say how a call ended; None says that it tells nothing.

        Calls that were admitted before the breaker last opened or closed no
        longer count: they speak of another time.
        """
        if admission != self._age:
            return
        self._on_trial = False
        if healthy is None:
            return
        if healthy:
            self._in_a_row = 0
            if self._open_until is not None:
                self._open_until = None
                self._age += 1
            return
        self._in_a_row += 1
        if self._open_until is not None or self._in_a_row >= self._failures:
            self._in_a_row = 0
            self._open_until = self._clock() + self._rest_seconds
            self._age += 1
