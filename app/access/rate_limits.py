"""Rate limits: how many requests a key may send in a minute."""

from __future__ import annotations

import math
from datetime import timedelta
from itertools import count
from secrets import token_hex
from typing import TYPE_CHECKING, NamedTuple

from app.errors import CacheUnavailable, RateLimited

if TYPE_CHECKING:
    from collections.abc import Callable

    from app.access.caller import Caller
    from app.storage.ports.rates import Rate, Rates

MINUTE = timedelta(minutes=1)


class Standing(NamedTuple):
    """The state of a key in its window, which `RateLimit` shows."""

    limit: int
    remaining: int
    reset_seconds: int

    def as_headers(self) -> dict[str, str]:
        """Return its response headers (draft-ietf-httpapi-ratelimit-headers-09)."""
        return {
            "RateLimit-Policy": f'"key";q={self.limit};w=60',
            "RateLimit": f'"key";r={self.remaining};t={self.reset_seconds}',
        }


class RateLimits:
    """The rates of keys, one for all replicas."""

    def __init__(
        self, rates: Rates, on_degraded: Callable[[str], None] = lambda _: None
    ) -> None:
        self._rates = rates
        self._on_degraded = on_degraded
        self._process = token_hex(6)
        self._numbers = count()

    async def count(self, caller: Caller, limit: int) -> tuple[Standing | None, bool]:
        """Count a request of *caller*; return where it stands, and if it may go on.

        Without Redis it is unknown, and requests go on unlimited.
        """
        name = f"key:{caller.name}"
        if caller.is_bootstrap:
            name = f"{name}:{caller.project}"
        event = f"{self._process}-{next(self._numbers)}"
        try:
            rate = await self._rates.count(name, event, limit=limit, window=MINUTE)
        except CacheUnavailable:
            self._on_degraded("rate_limits")
            return None, True
        standing = Standing(limit, max(0, rate.remaining), _seconds(rate))
        return standing, rate.is_within


def refusal_of(standing: Standing) -> RateLimited:
    """Return the error of a key that asked too often."""
    return RateLimited(
        "The key has asked as often as it may in a minute.",
        retry_after=timedelta(seconds=standing.reset_seconds),
    )


def _seconds(rate: Rate) -> int:
    return max(1, math.ceil(rate.reset.total_seconds()))
