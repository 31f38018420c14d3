"""The quota of new pictures of one client address in an hour."""

from __future__ import annotations

from contextlib import suppress
from datetime import timedelta
from typing import TYPE_CHECKING

from app.errors import CacheUnavailable, NewPicturesLimited

if TYPE_CHECKING:
    from app.storage.ports.rates import Rates

_HOUR = timedelta(hours=1)


class AddressQuota:
    """New pictures of client addresses, across scopes and replicas; 0 is no limit."""

    def __init__(self, rates: Rates, *, per_hour: int) -> None:
        self._rates = rates
        self._per_hour = per_hour

    async def take(self, address: str, generation_id: str) -> None:
        """Count a new picture for *address*; raises `NewPicturesLimited`."""
        if not self._per_hour:
            return
        rate = await self._rates.count(
            f"new:{address}", generation_id, limit=self._per_hour, window=_HOUR
        )
        if not rate.is_within:
            raise NewPicturesLimited(
                "Your address has had as many new pictures as it may in an hour.",
                payer=("address", address),
                retry_after=rate.reset,
            )

    async def give_back(self, address: str, generation_id: str) -> None:
        """Give a new picture back; without Redis it stays counted."""
        if self._per_hour:
            with suppress(CacheUnavailable):
                await self._rates.take_back(f"new:{address}", generation_id)
