"""ProviderBreaker: stop asking a provider that fails again and again.

Closed, every call passes. After many failures in a row it opens, and no call
passes for a while; then one trial call at a time does. The first that succeeds
closes it, and so does one that has not failed after 5 s: a picture may take
minutes, and those who ask must not wait for it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import timedelta

from app.errors import ProviderFailed

_FAILURES = 5
_REST_SECONDS = 10.0
_TRIAL_SECONDS = 5.0


class ProviderBreaker:
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
        self._trial_since: float | None = None
        self._age = 0

    @property
    def is_open(self) -> bool:
        """Whether no call may pass, or only one on trial."""
        self._end_long_trial()
        return self._open_until is not None

    def check(self) -> None:
        """Raise `ProviderFailed` with a `retry_after` if no call may pass now."""
        self._end_long_trial()
        if self._open_until is None:
            return
        rest = self._open_until - self._clock()
        if rest > 0 or self._trial_since is not None:
            # While a trial runs its end is unknown; a second is soon enough.
            raise ProviderFailed(
                "The provider has failed again and again and is given a rest.",
                retry_after=timedelta(seconds=max(rest, 1.0)),
            )

    def admit(self) -> int:
        """Admit one call; return the number under which to report its end.

        Raises what `check` raises. Every admitted call must be reported.
        """
        self.check()
        if self._open_until is not None:
            self._trial_since = self._clock()
        return self._age

    def accepted(self, admission: int) -> None:
        """Close the breaker where the call on trial has been accepted as a job."""
        if admission == self._age and self._trial_since is not None:
            self._close()

    def report(self, admission: int, *, healthy: bool | None) -> None:
        """Note how a call ended; None says that it tells nothing.

        Calls that were admitted before the breaker last opened or closed no
        longer count: they speak of another time.
        """
        self._end_long_trial()
        if admission != self._age:
            return
        self._trial_since = None
        if healthy is None:
            return
        if healthy:
            self._close()
            return
        self._in_a_row += 1
        if self._open_until is not None or self._in_a_row >= self._failures:
            self._in_a_row = 0
            self._open_until = self._clock() + self._rest_seconds
            self._age += 1

    def _end_long_trial(self) -> None:
        since = self._trial_since
        if since is not None and self._clock() - since >= _TRIAL_SECONDS:
            self._close()

    def _close(self) -> None:
        # The age stays: only the call on trial was admitted in it, and its own
        # end counts like that of any other.
        self._in_a_row = 0
        self._open_until = self._trial_since = None
