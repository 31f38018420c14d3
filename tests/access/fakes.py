"""Accounts and rates in memory; they pass the suites of `tests/contracts`."""

from __future__ import annotations

import time
from collections import defaultdict
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING

from app.storage.ports.accounts import (
    Account,
    Balance,
    Exhausted,
    Reservation,
    Reserved,
    Unknown,
)
from app.storage.ports.rates import Rate
from tests.fakes import Gated

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass
class _Kept:
    reserved: dict[str, tuple[int, float]] = field(default_factory=dict)
    settled: dict[str, int] = field(default_factory=dict)
    is_known: bool = False

    def has(self, item: str) -> bool:
        return item in self.reserved or bool(self.settled.get(item))

    def sweep(self) -> None:
        for item, (_, due) in list(self.reserved.items()):
            if due <= time.monotonic():
                del self.reserved[item]
                self.is_known = False

    @property
    def balance(self) -> Balance | None:
        self.sweep()
        if not self.is_known:
            return None
        reserved = sum(amount for amount, _ in self.reserved.values())
        return Balance(sum(self.settled.values()), reserved)


class InMemoryAccounts(Gated):
    """`AccountStore` in dictionaries; `lose_everything` acts like FLUSHALL."""

    def __init__(self) -> None:
        super().__init__()
        self._accounts: dict[str, _Kept] = {}

    def lose_everything(self) -> None:
        """Forget all accounts and items."""
        self._accounts.clear()

    async def reserve(
        self,
        reservation: Reservation,
        *,
        settle_within: timedelta,
        replaces: str | None = None,
    ) -> Reserved | Exhausted | Unknown:
        """Reserve the amount if the account stays within its limit."""
        item, amount, limit = reservation.item, reservation.amount, reservation.limit
        async with self._call("reserve"):
            kept = self._accounts.get(reservation.account.name)
            balance = kept.balance if kept else None
            if kept is None or balance is None:
                return Unknown()
            due = time.monotonic() + settle_within.total_seconds()
            if item in kept.reserved:
                kept.reserved[item] = amount, due
                return Reserved()
            if kept.settled.get(item):
                return Reserved()
            freed = replaces is not None and kept.has(replaces)
            if not freed and limit is not None and sum(balance) + amount > limit:
                return Exhausted(balance)
            if freed and replaces is not None:
                kept.reserved.pop(replaces, None)
                kept.settled[replaces] = 0
            kept.settled.pop(item, None)
            kept.reserved[item] = amount, due
        return Reserved()

    async def renew(
        self, account: Account, item: str, *, settle_within: timedelta
    ) -> bool:
        """Extend the reservation; return False if there is none."""
        async with self._call("renew"):
            kept = self._accounts.get(account.name)
            if kept is None or item not in kept.reserved:
                return False
            due = time.monotonic() + settle_within.total_seconds()
            kept.reserved[item] = kept.reserved[item][0], due
            return True

    async def reopen(
        self, account: Account, item: str, *, settle_within: timedelta
    ) -> None:
        """Turn a counted item back into a reserved one."""
        async with self._call("reopen"):
            kept = self._accounts.get(account.name)
            if kept is not None and kept.has(item):
                amount = kept.settled.pop(item, 0) or kept.reserved[item][0]
                due = time.monotonic() + settle_within.total_seconds()
                kept.reserved[item] = amount, due

    async def settle(self, account: Account, item: str, amount: int) -> None:
        """Record the amount that *item* cost in the end."""
        async with self._call("settle"):
            kept = self._accounts.setdefault(account.name, _Kept())
            if amount == 0 or kept.is_known or kept.has(item):
                kept.reserved.pop(item, None)
                kept.settled[item] = amount

    async def keep(self, account: Account, item: str) -> None:
        """Count a reserved item as used."""
        async with self._call("keep"):
            kept = self._accounts.get(account.name)
            if kept is not None and item in kept.reserved:
                kept.settled[item], _ = kept.reserved.pop(item)

    async def count(self, account: Account, items: Mapping[str, int]) -> None:
        """Make the account known, with *items* that were settled before."""
        async with self._call("count"):
            kept = self._accounts.setdefault(account.name, _Kept())
            for item, amount in items.items():
                if item not in kept.reserved:
                    kept.settled.setdefault(item, amount)
            kept.is_known = True

    async def balance(self, account: Account) -> Balance | None:
        """Return the balance, or None if the account is unknown."""
        async with self._call("balance"):
            kept = self._accounts.get(account.name)
        return kept.balance if kept else None

    async def forget(self, account: Account) -> None:
        """Forget the account."""
        async with self._call("forget"):
            self._accounts.pop(account.name, None)


class InMemoryRates(Gated):
    """`Rates` in lists."""

    def __init__(self) -> None:
        super().__init__()
        self._events: dict[str, dict[str, float]] = defaultdict(dict)

    async def count(
        self, name: str, event: str, *, limit: int, window: timedelta
    ) -> Rate:
        """Count *event* of *name* if fewer than *limit* lie in the last *window*."""
        async with self._call("count"):
            now, events = time.monotonic(), self._events[name]
            for old, at in list(events.items()):
                if at <= now - window.total_seconds():
                    del events[old]
            is_within = event in events or len(events) < limit
            if is_within:
                events.setdefault(event, now)
            oldest = min(events.values(), default=now)
        reset = timedelta(seconds=oldest - now) + window if events else timedelta()
        return Rate(is_within, limit - len(events), reset)

    async def take_back(self, name: str, event: str) -> None:
        """Forget *event*."""
        async with self._call("take_back"):
            self._events[name].pop(event, None)
