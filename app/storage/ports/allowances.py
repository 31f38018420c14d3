"""The port to allowances: what may be used up, counted once for all replicas.

An account has items: each is reserved before what it pays for begins, and
settled when it has ended. Amounts are whole numbers. Every step is decided by
the item's name, so that it may be repeated. Raises `CacheUnavailable`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import timedelta


@dataclass(frozen=True, slots=True)
class Account:
    """One account by its *name*; *keep_for* is None where it is kept for ever."""

    name: str
    keep_for: timedelta | None = None


class Balance(NamedTuple):
    """What is settled, and what is reserved besides."""

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


class Allowances(Protocol):
    """Accounts that all replicas share."""

    async def reserve(
        self,
        account: Account,
        item: str,
        amount: int,
        *,
        limit: int | None,
        settle_within: timedelta,
    ) -> Reserved | Exhausted | Unknown:
        """Reserve *amount* for *item* if all is within *limit* then.

        What nobody settles in time counts as settled in full.
        """
        ...

    async def settle(self, account: Account, item: str, amount: int) -> None:
        """Note what *item* came to; 0 gives it back. Also late, and again."""
        ...

    async def count(self, account: Account, items: Mapping[str, int]) -> None:
        """Make the account known, with *items* that were settled before.

        Those that it knows already stay as they are.
        """
        ...

    async def balance(self, account: Account) -> Balance | None:
        """Return the balance, or None where nothing is known of the account."""
        ...

    async def forget(self, account: Account) -> None:
        """Forget the account."""
        ...
