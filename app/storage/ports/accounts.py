"""The port to accounts: what is used up, counted once for all replicas.

Each amount is reserved before what it pays for begins, and settled when that
has ended. Amounts are whole numbers. Every step names its item, so that it may
be repeated. Raises `CacheUnavailable`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import NamedTuple, Protocol


@dataclass(frozen=True, slots=True)
class Account:
    """One account by its *name*; *keep_for* is None where it is kept for ever."""

    name: str
    keep_for: timedelta | None = None


@dataclass(frozen=True, slots=True)
class Reservation:
    """*amount* of *account* for *item*; the account stays within *limit*."""

    account: Account
    item: str
    amount: int
    limit: int | None = None


class Balance(NamedTuple):
    """Sums of what is settled and of what is reserved."""

    settled: int
    reserved: int


@dataclass(frozen=True, slots=True)
class Reserved:
    """The item is reserved, now or by an earlier attempt."""


@dataclass(frozen=True, slots=True)
class Exhausted:
    """The item does not fit: the limit is reached."""

    balance: Balance


@dataclass(frozen=True, slots=True)
class Unknown:
    """Nothing is known of the account: it has to be counted first."""


class AccountStore(Protocol):
    """Accounts that all replicas share."""

    async def reserve(
        self,
        reservation: Reservation,
        *,
        settle_within: timedelta,
        replaces: str | None = None,
    ) -> Reserved | Exhausted | Unknown:
        """Reserve the amount if all is within the limit then.

        What is neither settled nor renewed in time makes the account unknown:
        it has to be counted. The amount of the item *replaces* is given back in
        the same step, and the new item needs no room besides.
        """
        ...

    async def renew(
        self, account: Account, item: str, *, settle_within: timedelta
    ) -> bool:
        """Hold what is reserved for longer; False where it is not reserved."""
        ...

    async def reopen(
        self, account: Account, item: str, *, settle_within: timedelta
    ) -> None:
        """Hold an item that is about to be given back like a reserved one.

        Where its replica dies before it is settled, the account is counted again.
        """
        ...

    async def settle(self, account: Account, item: str, amount: int) -> None:
        """Note what *item* came to; 0 gives it back. Also late, and again.

        What was given back before the account is counted is not counted.
        """
        ...

    async def keep(self, account: Account, item: str) -> None:
        """Note that a reserved item was used; its document is there already.

        Any other item stays as it is: one that was counted again from the
        ledger, and one that a later item went on with.
        """
        ...

    async def count(self, account: Account, items: Mapping[str, int]) -> None:
        """Make the account known, with *items* that were settled before.

        Those that it knows already stay as they are. Where the store loses
        some of them meanwhile, the account stays unknown.
        """
        ...

    async def balance(self, account: Account) -> Balance | None:
        """Return the balance, or None where nothing is known of the account."""
        ...

    async def forget(self, account: Account) -> None:
        """Forget the account."""
        ...
