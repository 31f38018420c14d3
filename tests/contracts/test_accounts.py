"""The contract of `AccountStore` and `Rates`, for Redis and the fakes."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from app.errors import CacheUnavailable
from app.storage.ports.accounts import (
    Account,
    Balance,
    Exhausted,
    Reservation,
    Reserved,
    Unknown,
)
from app.storage.redis.accounts import RedisAccounts, RedisRates
from app.storage.redis.client.traffic import open_redis
from tests.access.fakes import InMemoryAccounts, InMemoryRates
from tests.servers import redis_server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from app.storage.ports.accounts import AccountStore
    from app.storage.ports.rates import Rates
    from app.storage.redis.client.connection import RedisConnection
    from tests.servers import RedisServer

ACCOUNT = Account("spend:acme/shop:2026-11-26", keep_for=timedelta(hours=1))
SOON, LONG = timedelta(milliseconds=40), timedelta(minutes=5)


@pytest.fixture(params=["memory", "redis"])
async def accounts(request: pytest.FixtureRequest) -> AsyncIterator[AccountStore]:
    """Give each implementation, empty."""
    if request.param == "memory":
        yield InMemoryAccounts()
        return
    async with open_redis(request.getfixturevalue("redis_url")) as redis:
        yield RedisAccounts(redis.leases)


@pytest.fixture(params=["memory", "redis"])
async def rates(request: pytest.FixtureRequest) -> AsyncIterator[Rates]:
    """Give each implementation, empty."""
    if request.param == "memory":
        yield InMemoryRates()
        return
    async with open_redis(request.getfixturevalue("redis_url")) as redis:
        yield RedisRates(redis.commands)


async def reserve(  # noqa: PLR0917 - a row of a table
    accounts: AccountStore,
    item: str,
    amount: int = 4,
    limit: int | None = 10,
    settle_within: timedelta = LONG,
    replaces: str | None = None,
) -> Reserved | Exhausted | Unknown:
    """Reserve an item of the account."""
    return await accounts.reserve(
        Reservation(ACCOUNT, item, amount, limit),
        settle_within=settle_within,
        replaces=replaces,
    )


async def test_an_uncounted_account_is_unknown(accounts: AccountStore) -> None:
    """An account is unknown, and reserves nothing, until it is counted."""
    assert await reserve(accounts, "a") == Unknown()
    assert await accounts.balance(ACCOUNT) is None
    await accounts.settle(ACCOUNT, "a", 4)
    assert await accounts.balance(ACCOUNT) is None

    await accounts.count(ACCOUNT, {})

    assert await accounts.balance(ACCOUNT) == Balance(0, 0)
    assert await reserve(accounts, "a") == Reserved()


async def test_the_limit_counts_what_is_reserved(accounts: AccountStore) -> None:
    """Reserved amounts count against the limit until they are given back."""
    await accounts.count(ACCOUNT, {})
    assert [await reserve(accounts, item) for item in "ab"] == [Reserved()] * 2
    assert await reserve(accounts, "c") == Exhausted(Balance(0, 8))

    await accounts.settle(ACCOUNT, "a", 4)
    assert await reserve(accounts, "c") == Exhausted(Balance(4, 4))
    await accounts.settle(ACCOUNT, "b", 0)

    assert await reserve(accounts, "c") == Reserved()
    assert await accounts.balance(ACCOUNT) == Balance(4, 4)
    assert await reserve(accounts, "d", limit=None) == Reserved()


async def test_each_step_may_be_repeated(accounts: AccountStore) -> None:
    """Each step may be repeated after a lost reply without counting twice."""
    await accounts.count(ACCOUNT, {})
    for _ in range(3):
        assert await reserve(accounts, "a") == Reserved()
    assert await accounts.balance(ACCOUNT) == Balance(0, 4)
    for _ in range(3):
        await accounts.settle(ACCOUNT, "a", 4)
    assert await accounts.balance(ACCOUNT) == Balance(4, 0)
    assert await reserve(accounts, "a") == Reserved()
    assert await accounts.balance(ACCOUNT) == Balance(4, 0)
    for _ in range(2):
        await accounts.settle(ACCOUNT, "a", 0)
    assert await accounts.balance(ACCOUNT) == Balance(0, 0)


async def test_counting_adds_what_is_not_known(accounts: AccountStore) -> None:
    """Two replicas that count at once add each item once."""
    await accounts.count(ACCOUNT, {"a": 4})
    await reserve(accounts, "b")
    await reserve(accounts, "c", 1)
    await accounts.settle(ACCOUNT, "c", 0)

    await accounts.count(ACCOUNT, {"a": 4, "b": 4, "c": 1, "d": 2})

    assert await accounts.balance(ACCOUNT) == Balance(6, 4)


async def test_many_items_are_counted(accounts: AccountStore) -> None:
    """A count takes more items than one command holds."""
    items = {f"item-{number}": number for number in range(1000)}

    await accounts.count(ACCOUNT, items)

    assert await accounts.balance(ACCOUNT) == Balance(sum(items.values()), 0)


async def test_what_is_not_renewed_in_time_is_counted_again(
    accounts: AccountStore,
) -> None:
    """An account with an expired reservation is unknown until it is counted again."""
    await accounts.count(ACCOUNT, {})
    await reserve(accounts, "written", settle_within=SOON)
    await reserve(accounts, "unwritten", settle_within=SOON)
    await asyncio.sleep(2 * SOON.total_seconds())

    assert await accounts.balance(ACCOUNT) is None
    assert await reserve(accounts, "another") == Unknown()
    await accounts.count(ACCOUNT, {"written": 4})

    assert await accounts.balance(ACCOUNT) == Balance(4, 0)
    await accounts.settle(ACCOUNT, "written", 0)
    assert await accounts.balance(ACCOUNT) == Balance(0, 0)


async def test_what_is_renewed_stays_reserved(accounts: AccountStore) -> None:
    """A renewed item stays reserved; a settled or unknown one can't be renewed."""
    await accounts.count(ACCOUNT, {})
    await reserve(accounts, "a", settle_within=SOON)

    assert await accounts.renew(ACCOUNT, "a", settle_within=LONG)
    await asyncio.sleep(2 * SOON.total_seconds())

    assert await accounts.balance(ACCOUNT) == Balance(0, 4)
    await accounts.settle(ACCOUNT, "a", 4)
    assert not await accounts.renew(ACCOUNT, "a", settle_within=LONG)
    assert not await accounts.renew(ACCOUNT, "none", settle_within=LONG)


async def test_what_was_given_back_before_a_count_is_not_counted(
    accounts: AccountStore,
) -> None:
    """An item given back between listing and count is not counted."""
    await accounts.settle(ACCOUNT, "a", 0)

    await accounts.count(ACCOUNT, {"a": 4, "b": 4})

    assert await accounts.balance(ACCOUNT) == Balance(4, 0)


async def test_an_item_goes_on_with_the_amount_of_another(
    accounts: AccountStore,
) -> None:
    """An item may take over another's amount, which then gives nothing back."""
    await accounts.count(ACCOUNT, {})
    assert [await reserve(accounts, item, 5) for item in "ab"] == [Reserved()] * 2
    await accounts.settle(ACCOUNT, "a", 5)

    for _ in range(2):
        assert await reserve(accounts, "c", 5, replaces="a") == Reserved()
    assert await reserve(accounts, "d", 5, replaces="none") == Exhausted(Balance(0, 10))
    await accounts.settle(ACCOUNT, "a", 0)

    assert await accounts.balance(ACCOUNT) == Balance(0, 10)


async def test_what_another_item_went_on_with_is_not_used_again(
    accounts: AccountStore,
) -> None:
    """A taken-over item is not counted a second time by its own count."""
    await accounts.count(ACCOUNT, {"a": 5})
    assert await reserve(accounts, "b", 5, 5, replaces="a") == Reserved()

    for item in ("a", "b", "b", "none"):
        await accounts.keep(ACCOUNT, item)

    assert await accounts.balance(ACCOUNT) == Balance(5, 0)


async def test_what_is_about_to_be_given_back_is_counted_again(
    accounts: AccountStore,
) -> None:
    """A reopened item whose replica dies makes the account unknown again."""
    await accounts.count(ACCOUNT, {"a": 4})
    await accounts.reopen(ACCOUNT, "a", settle_within=SOON)
    await accounts.reopen(ACCOUNT, "none", settle_within=SOON)
    assert await accounts.balance(ACCOUNT) == Balance(0, 4)
    await asyncio.sleep(2 * SOON.total_seconds())

    assert await accounts.balance(ACCOUNT) is None
    await accounts.count(ACCOUNT, {})
    assert await accounts.balance(ACCOUNT) == Balance(0, 0)


async def test_large_amounts_stay_exact(accounts: AccountStore) -> None:
    """Sums of large amounts in billionths are exact."""
    price = 33_333_333
    await accounts.count(ACCOUNT, {})
    for number in range(30):
        await reserve(accounts, f"item-{number}", price, 10**15)
        await accounts.settle(ACCOUNT, f"item-{number}", price)

    assert await accounts.balance(ACCOUNT) == Balance(30 * price, 0)


async def test_the_limit_is_exact_under_concurrency(accounts: AccountStore) -> None:
    """Of a hundred reservations at once exactly those within the limit succeed."""
    await accounts.count(ACCOUNT, {})

    async def reserve_one(number: int) -> object:
        while True:
            # On a busy machine the last of them wait too long for their turn.
            with suppress(CacheUnavailable):
                return await reserve(accounts, f"item-{number}", 1, 17)

    verdicts = await asyncio.gather(*map(reserve_one, range(100)))

    assert verdicts.count(Reserved()) == 17
    assert await accounts.balance(ACCOUNT) == Balance(0, 17)


@pytest.mark.parametrize("lost_after", [1, 2])
async def test_a_count_that_loses_its_first_items_leaves_the_account_unknown(
    redis_url: str, lost_after: int
) -> None:
    """If Redis is emptied during a count, the account stays unknown."""
    items = {f"item-{number}": 4 for number in range(1200)}
    async with open_redis(redis_url) as redis:
        commands = LosesItsMemory(redis.leases, lost_after)
        accounts = RedisAccounts(commands)  # type: ignore[arg-type]

        await accounts.count(ACCOUNT, items)
        assert await accounts.balance(ACCOUNT) is None
        await accounts.count(ACCOUNT, items)

        assert await accounts.balance(ACCOUNT) == Balance(4800, 0)


class LosesItsMemory:
    """A connection whose Redis is emptied once, after a number of scripts."""

    def __init__(self, commands: RedisConnection, lost_after: int) -> None:
        self._commands = commands
        self._lost_after = lost_after

    async def run(self, *args: Any, **options: Any) -> Any:
        """Run a script; empty Redis after it if its turn has come."""
        answer = await self._commands.run(*args, **options)
        self._lost_after -= 1
        if self._lost_after == 0:
            await self._commands.execute("FLUSHALL")
        return answer


async def test_an_answer_of_an_older_redis_counts_for_nothing(tmp_path: Path) -> None:
    """The answer of an older account about a reservation is asked for again.

    1. The run is known. 2. Redis comes back older. 3. Its account, which is known for
    the run before, has room for what is paid already.
    """
    with redis_server(tmp_path) as server:
        async with open_redis(server.url) as redis:
            commands = ComesBackOlder(redis.leases, server)
            accounts = RedisAccounts(commands, redis.run_of)  # type: ignore[arg-type]
            await accounts.count(ACCOUNT, {"a": 4})
            await redis.commands.execute("SAVE")
            await accounts.count(ACCOUNT, {"b": 4})
            commands.is_due = True

            assert await reserve(accounts, "c") == Unknown()
            await accounts.count(ACCOUNT, {"a": 4, "b": 4})
            assert await reserve(accounts, "c") == Exhausted(Balance(8, 0))


async def test_an_older_account_keeps_nothing_that_was_given_back(
    tmp_path: Path,
) -> None:
    """An account of an older Redis is counted from the ledger alone."""
    with redis_server(tmp_path) as server:
        async with open_redis(server.url) as redis:
            accounts = RedisAccounts(redis.leases, redis.run_of)
            await accounts.count(ACCOUNT, {"a": 4, "given back": 1})
            await reserve(accounts, "never written", 2)
            await redis.commands.execute("SAVE")
        server.kill()
        server.start()
        async with open_redis(server.url) as redis:
            accounts = RedisAccounts(redis.leases, redis.run_of)
            assert await accounts.balance(ACCOUNT) is None

            await accounts.count(ACCOUNT, {"a": 4})

            assert await accounts.balance(ACCOUNT) == Balance(4, 0)
            assert await reserve(accounts, "b") == Reserved()


class ComesBackOlder:
    """A connection whose Redis is restarted just before a script."""

    def __init__(self, commands: RedisConnection, server: RedisServer) -> None:
        self._commands = commands
        self._server = server
        self.is_due = False

    async def run(self, *args: Any, **options: Any) -> Any:
        """Run a script; restart Redis before it if its turn has come."""
        if self.is_due:
            self.is_due = False
            self._server.kill()
            self._server.start()
        return await self._commands.run(*args, **options)


async def test_an_account_is_forgotten(accounts: AccountStore) -> None:
    """A forgotten account is unknown."""
    await accounts.count(ACCOUNT, {"a": 4})

    await accounts.forget(ACCOUNT)

    assert await accounts.balance(ACCOUNT) is None


async def test_a_window_slides(rates: Rates) -> None:
    """Any window admits as many events as the limit; old ones expire singly."""
    window = timedelta(seconds=1)

    async def count(event: str) -> tuple[bool, int]:
        rate = await rates.count("key:a", event, limit=2, window=window)
        return rate.is_within, rate.remaining

    assert await count("1") == (True, 1)
    await asyncio.sleep(0.6)
    assert await count("2") == (True, 0)
    assert await count("3") == (False, 0)
    await asyncio.sleep(0.5)
    assert (await count("4"))[0] is True
    assert (await count("5"))[0] is False


async def test_an_event_counts_once_and_can_be_taken_back(rates: Rates) -> None:
    """A repeated event counts once, and one taken back frees its slot."""
    window = timedelta(minutes=1)

    async def count(event: str, name: str = "key:a") -> bool:
        return (await rates.count(name, event, limit=1, window=window)).is_within

    assert [await count("1"), await count("1"), await count("2")] == [True, True, False]
    assert await count("2", "key:b")
    await rates.take_back("key:a", "1")
    assert await count("2")


async def test_the_rate_is_exact_under_concurrency(rates: Rates) -> None:
    """Of a hundred events at once exactly those within the limit are admitted."""
    window = timedelta(minutes=1)

    counted = await asyncio.gather(
        *(
            rates.count("key:a", f"{number}", limit=13, window=window)
            for number in range(100)
        )
    )

    assert sum(rate.is_within for rate in counted) == 13
    assert all(timedelta(seconds=58) < rate.reset <= window for rate in counted)
