"""What every `Allowances` and every `Rates` promises, the fakes as well."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from app.storage.ports.allowances import (
    Account,
    Balance,
    Exhausted,
    Reserved,
    Unknown,
)
from app.storage.redis.allowances import RedisAllowances, RedisRates
from app.storage.redis.client.connection import open_redis
from tests.access.fakes import InMemoryAllowances, InMemoryRates

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from app.storage.ports.allowances import Allowances
    from app.storage.ports.rates import Rates

ACCOUNT = Account("spend:acme/shop:2026-11-26", keep_for=timedelta(hours=1))
SOON, LONG = timedelta(milliseconds=40), timedelta(minutes=5)


@pytest.fixture(params=["memory", "redis"])
async def allowances(request: pytest.FixtureRequest) -> AsyncIterator[Allowances]:
    """Give each implementation, empty."""
    if request.param == "memory":
        yield InMemoryAllowances()
        return
    async with open_redis(request.getfixturevalue("redis_url")) as redis:
        yield RedisAllowances(redis.leases)


@pytest.fixture(params=["memory", "redis"])
async def rates(request: pytest.FixtureRequest) -> AsyncIterator[Rates]:
    """Give each implementation, empty."""
    if request.param == "memory":
        yield InMemoryRates()
        return
    async with open_redis(request.getfixturevalue("redis_url")) as redis:
        yield RedisRates(redis.commands)


async def reserve(
    allowances: Allowances,
    item: str,
    amount: int = 4,
    limit: int | None = 10,
    settle_within: timedelta = LONG,
) -> Reserved | Exhausted | Unknown:
    """Reserve an item of the account."""
    return await allowances.reserve(
        ACCOUNT, item, amount, limit=limit, settle_within=settle_within
    )


async def test_what_nobody_has_counted_is_unknown(allowances: Allowances) -> None:
    """Nothing is reserved before the account was counted."""
    assert await reserve(allowances, "a") == Unknown()
    assert await allowances.balance(ACCOUNT) is None
    await allowances.settle(ACCOUNT, "a", 4)
    assert await allowances.balance(ACCOUNT) is None

    await allowances.count(ACCOUNT, {})

    assert await allowances.balance(ACCOUNT) == Balance(0, 0)
    assert await reserve(allowances, "a") == Reserved()


async def test_the_limit_counts_what_is_reserved(allowances: Allowances) -> None:
    """What does not fit is refused, and fits again once something was given back."""
    await allowances.count(ACCOUNT, {})
    assert [await reserve(allowances, item) for item in "ab"] == [Reserved()] * 2
    assert await reserve(allowances, "c") == Exhausted(Balance(0, 8))

    await allowances.settle(ACCOUNT, "a", 4)
    assert await reserve(allowances, "c") == Exhausted(Balance(4, 4))
    await allowances.settle(ACCOUNT, "b", 0)

    assert await reserve(allowances, "c") == Reserved()
    assert await allowances.balance(ACCOUNT) == Balance(4, 4)
    assert await reserve(allowances, "d", limit=None) == Reserved()


async def test_each_step_may_be_repeated(allowances: Allowances) -> None:
    """A lost reply costs nothing: items are decided by their names."""
    await allowances.count(ACCOUNT, {})
    for _ in range(3):
        assert await reserve(allowances, "a") == Reserved()
    assert await allowances.balance(ACCOUNT) == Balance(0, 4)
    for _ in range(3):
        await allowances.settle(ACCOUNT, "a", 4)
    assert await allowances.balance(ACCOUNT) == Balance(4, 0)
    assert await reserve(allowances, "a") == Reserved()
    assert await allowances.balance(ACCOUNT) == Balance(4, 0)
    for _ in range(2):
        await allowances.settle(ACCOUNT, "a", 0)
    assert await allowances.balance(ACCOUNT) == Balance(0, 0)


async def test_counting_adds_what_is_not_known(allowances: Allowances) -> None:
    """Two replicas that count at once add nothing twice, reserved or given back."""
    await allowances.count(ACCOUNT, {"a": 4})
    await reserve(allowances, "b")
    await reserve(allowances, "c", 1)
    await allowances.settle(ACCOUNT, "c", 0)

    await allowances.count(ACCOUNT, {"a": 4, "b": 4, "c": 1, "d": 2})

    assert await allowances.balance(ACCOUNT) == Balance(6, 4)


async def test_many_items_are_counted(allowances: Allowances) -> None:
    """More than one command takes."""
    items = {f"item-{number}": number for number in range(1000)}

    await allowances.count(ACCOUNT, items)

    assert await allowances.balance(ACCOUNT) == Balance(sum(items.values()), 0)


async def test_what_nobody_settles_counts_as_used(allowances: Allowances) -> None:
    """A leader that died may have paid; one that comes late corrects it."""
    await allowances.count(ACCOUNT, {})
    await reserve(allowances, "a", settle_within=SOON)
    await asyncio.sleep(2 * SOON.total_seconds())

    assert await allowances.balance(ACCOUNT) == Balance(4, 0)
    await allowances.settle(ACCOUNT, "a", 0)
    assert await allowances.balance(ACCOUNT) == Balance(0, 0)


async def test_large_amounts_stay_exact(allowances: Allowances) -> None:
    """Billionths of a day's money are added to the unit."""
    price = 33_333_333
    await allowances.count(ACCOUNT, {})
    for number in range(30):
        await reserve(allowances, f"item-{number}", price, 10**15)
        await allowances.settle(ACCOUNT, f"item-{number}", price)

    assert await allowances.balance(ACCOUNT) == Balance(30 * price, 0)


async def test_the_limit_is_exact_under_concurrency(allowances: Allowances) -> None:
    """Of a hundred at once exactly as many get in as fit."""
    await allowances.count(ACCOUNT, {})

    verdicts = await asyncio.gather(
        *(reserve(allowances, f"item-{number}", 1, 17) for number in range(100))
    )

    assert verdicts.count(Reserved()) == 17
    assert await allowances.balance(ACCOUNT) == Balance(0, 17)


async def test_an_account_is_forgotten(allowances: Allowances) -> None:
    """Nothing is known of it then."""
    await allowances.count(ACCOUNT, {"a": 4})

    await allowances.forget(ACCOUNT)

    assert await allowances.balance(ACCOUNT) is None


async def test_a_window_slides(rates: Rates) -> None:
    """Exactly as many as the limit lie in any window; the oldest makes room."""
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
    """The same event again is within its limit; another name has its own."""
    window = timedelta(minutes=1)

    async def count(event: str, name: str = "key:a") -> bool:
        return (await rates.count(name, event, limit=1, window=window)).is_within

    assert [await count("1"), await count("1"), await count("2")] == [True, True, False]
    assert await count("2", "key:b")
    await rates.take_back("key:a", "1")
    assert await count("2")


async def test_the_rate_is_exact_under_concurrency(rates: Rates) -> None:
    """Of a hundred at once exactly the limit is let through, and the reset is told."""
    window = timedelta(minutes=1)

    counted = await asyncio.gather(
        *(
            rates.count("key:a", f"{number}", limit=13, window=window)
            for number in range(100)
        )
    )

    assert sum(rate.is_within for rate in counted) == 13
    assert all(timedelta(seconds=58) < rate.reset <= window for rate in counted)
