"""`AccountStore` and `Rates` in Redis."""

from __future__ import annotations

from datetime import timedelta
from itertools import islice
from secrets import token_hex
from typing import TYPE_CHECKING, Any

from app.errors import CacheUnavailable
from app.storage.ports.accounts import Balance, Exhausted, Reserved, Unknown
from app.storage.ports.rates import Rate
from app.storage.redis import account_scripts as scripts
from app.storage.redis import keys
from app.storage.redis.client.failures import CacheFull

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from app.storage.ports.accounts import Account, Reservation
    from app.storage.redis.client.connection import RedisConnection
    from app.storage.redis.client.script import Script

# How long it is known that an item was given back: a replica that listed the
# ledger just before would else count it in again.
_GIVEN_BACK_MS = 3_600_000
_ITEMS_AT_ONCE = 500


class RedisAccounts:
    """Accounts over *commands*; *run_of* returns the run id of a key's server.

    Balances are read over *balances*, where given: a connection on which many
    commands share a round trip, since every visitor of a scope that is used up
    needs one.
    """

    def __init__(
        self,
        commands: RedisConnection,
        run_of: Callable[[str], Awaitable[str]] | None = None,
        *,
        balances: RedisConnection | None = None,
    ) -> None:
        self._commands = commands
        self._balances = balances or commands
        self._run_of = run_of

    async def reserve(
        self,
        reservation: Reservation,
        *,
        settle_within: timedelta,
        replaces: str | None = None,
    ) -> Reserved | Exhausted | Unknown:
        """Reserve the amount if all is within the limit then."""
        limit = reservation.limit
        verdict = await self._run(
            scripts.RESERVE,
            reservation.account,
            [
                reservation.item,
                reservation.amount,
                -1 if limit is None else limit,
                _milliseconds(settle_within),
                _kept_ms(reservation.account),
                replaces or "",
                _GIVEN_BACK_MS,
            ],
        )
        match verdict:
            case [b"reserved"]:
                return Reserved()
            case [b"exhausted", settled, reserved]:
                return Exhausted(Balance(int(settled), int(reserved)))
        return Unknown()

    async def renew(
        self, account: Account, item: str, *, settle_within: timedelta
    ) -> bool:
        """Hold what is reserved for longer; False where it is not reserved."""
        args: list[str | bytes | int] = [item, _milliseconds(settle_within)]
        return bool(await self._run(scripts.RENEW, account, args))

    async def reopen(
        self, account: Account, item: str, *, settle_within: timedelta
    ) -> None:
        """Hold an item that is about to be given back like a reserved one."""
        args: list[str | bytes | int] = [item, _milliseconds(settle_within)]
        await self._run(scripts.REOPEN, account, args)

    async def settle(self, account: Account, item: str, amount: int) -> None:
        """Note what *item* came to."""
        await self._run(scripts.SETTLE, account, [item, amount, _GIVEN_BACK_MS])

    async def keep(self, account: Account, item: str) -> None:
        """Note that a reserved item was used."""
        await self._run(scripts.KEEP, account, [item])

    async def count(self, account: Account, items: Mapping[str, int]) -> None:
        """Make the account known, with *items* that were settled before."""
        token, left, is_first = token_hex(8), iter(items.items()), True
        while True:
            some = list(islice(left, _ITEMS_AT_ONCE))
            is_last = len(some) < _ITEMS_AT_ONCE
            args: list[str | bytes | int] = [token, int(is_first), int(is_last)]
            args.append(_kept_ms(account))
            for item, amount in some:
                args += item, amount
            is_whole = await self._run(scripts.COUNT, account, args)
            if is_last or not is_whole:
                return
            is_first = False

    async def balance(self, account: Account) -> Balance | None:
        """Return the balance, or None where nothing is known of the account."""
        found = await self._run(scripts.BALANCE, account, [], over=self._balances)
        return Balance(int(found[0]), int(found[1])) if found else None

    async def forget(self, account: Account) -> None:
        """Forget the account."""
        for key in keys.account(account.name):
            await self._commands.execute("DEL", key)

    async def _run(
        self,
        script: Script,
        account: Account,
        args: Sequence[str | bytes | int],
        *,
        over: RedisConnection | None = None,
    ) -> Any:
        own, connection = keys.account(account.name), over or self._commands
        run = await self._run_of(own[0]) if self._run_of else ""
        while True:
            try:
                reply = await connection.run(script, own, [*args, run])
            except CacheFull as error:
                # What can't be noted can't be paid: as in an outage.
                raise CacheUnavailable("The cache is full.") from error
            asked = run
            run = await self._run_of(own[0]) if self._run_of else ""
            if run == asked:
                return reply
            # Another run answered, with its own account that was known for *asked*.


class RedisRates:
    """Sliding windows over *commands*."""

    def __init__(self, commands: RedisConnection) -> None:
        self._commands = commands

    async def count(
        self, name: str, event: str, *, limit: int, window: timedelta
    ) -> Rate:
        """Count *event* of *name* if fewer than *limit* lie in the last *window*."""
        try:
            within, remaining, reset_ms = await self._commands.run(
                scripts.RATE,
                [keys.rate(name)],
                [event, limit, _milliseconds(window)],
                # A second time-out would hold a HIT up; the event counts once.
                retry=False,
            )
        except CacheFull as error:
            raise CacheUnavailable("The cache is full.") from error
        return Rate(bool(within), remaining, timedelta(milliseconds=reset_ms))

    async def take_back(self, name: str, event: str) -> None:
        """Forget *event*."""
        await self._commands.execute("ZREM", keys.rate(name), event)


def _kept_ms(account: Account) -> int:
    return 0 if account.keep_for is None else _milliseconds(account.keep_for)


def _milliseconds(duration: timedelta) -> int:
    return max(1, round(duration.total_seconds() * 1000))
