"""Journal and account agree after random calls, kills and losses.

Each replica is an `Accounts` of its own over one ledger and one Redis. Every step of a
call stops at a gate, so that kills and losses fall between any two.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from app.errors import BudgetExhausted, CacheUnavailable, StorageUnavailable
from app.spending.accounts import Accounts, item_of, prefix_of
from app.storage.documents import StoredDocuments
from app.storage.ports.accounts import Account, Reservation
from app.storage.redis.accounts import RedisAccounts
from app.storage.redis.client.traffic import open_redis
from tests.access.fakes import InMemoryAccounts
from tests.fakes import InMemoryObjectStore

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from app.storage.ports.accounts import AccountStore

ACCOUNT = Account("spend/acme/shop/2026-11-29", keep_for=timedelta(days=3))
PRICE, LIMIT = 4, 20
# Steps of a call at the ledger and at Redis, each of which may be the last.
STEPS = st.integers(0, 7)


class Killed(BaseException):
    """The process was killed here."""


async def _kill() -> None:
    raise Killed


class Steps:
    """Counts down the steps of a process; *happens* runs once, before the next one."""

    def __init__(
        self, left: int = 10**6, happens: Callable[[], Awaitable[None]] = _kill
    ) -> None:
        self._left = left
        self._happens = happens

    async def take(self) -> None:
        """Take a step."""
        self._left -= 1
        if self._left == -1:
            await self._happens()


class MortalStore:
    """An `AccountStore` whose process may die before or after each call."""

    def __init__(self, store: AccountStore) -> None:
        self._store = store
        self.steps = Steps()
        self.settle_within = timedelta(minutes=5)

    def __getattr__(self, name: str) -> Any:
        async def call(*args: Any, **options: Any) -> Any:
            await self.steps.take()
            if "settle_within" in options:
                options["settle_within"] = self.settle_within
            answer = await getattr(self._store, name)(*args, **options)
            await self.steps.take()
            return answer

        return call


class MortalDocuments(StoredDocuments):
    """Documents whose process may die before each write."""

    def __init__(self, store: InMemoryObjectStore) -> None:
        super().__init__(store)
        self.steps = Steps()

    async def write(self, name: str, fields: Any) -> None:
        """Write, unless the process is dead."""
        await self.steps.take()
        await super().write(name, fields)

    async def remove(self, name: str) -> None:
        """Remove, unless the process is dead."""
        await self.steps.take()
        await super().remove(name)


@dataclass(eq=False)
class Replica:
    """One process: its accounts and its open calls."""

    accounts: Accounts
    store: MortalStore
    documents: MortalDocuments
    open: list[Reservation] = field(default_factory=list)

    def meets(self, steps: int, happens: Callable[[], Awaitable[None]] = _kill) -> None:
        """Cause a fault after *steps* steps; by default the process dies."""
        self.store.steps = self.documents.steps = Steps(steps, happens)


class Machine(RuleBasedStateMachine):
    """Two replicas that start and die over one ledger and one Redis."""

    calls = Bundle("calls")

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.objects = InMemoryObjectStore()
        self.redis: AccountStore = self.open_store()
        self.replicas = [self.replica(), self.replica()]
        self.number = 0
        self.paid = 0

    def open_store(self) -> AccountStore:
        """Return the account store that replicas share."""
        return InMemoryAccounts()

    async def lose(self) -> None:
        """Empty Redis."""
        assert isinstance(self.redis, InMemoryAccounts)
        self.redis.lose_everything()

    def replica(self) -> Replica:
        """Start a process."""
        store, documents = MortalStore(self.redis), MortalDocuments(self.objects)
        accounts = Accounts(store, documents)
        return Replica(accounts, store, documents)

    def run(self, work: Any) -> Any:
        """Run *work* to its end."""
        return self.loop.run_until_complete(work)

    def written(self) -> dict[str, int]:
        """Return the ledger's documents of the account."""
        prefix = f"_system/{prefix_of(ACCOUNT)}"
        return dict(
            item_of(ACCOUNT, name.removeprefix("_system/").removesuffix(".json"))
            for name in self.objects.objects
            if name.startswith(prefix)
        )

    @rule(target=calls, who=st.sampled_from([0, 1]))
    def begin(self, who: int) -> tuple[Replica, Reservation] | None:
        """Begin a call, which is permitted or refused."""
        return self.begin_at(who)

    def begin_at(self, who: int) -> tuple[Replica, Reservation] | None:
        """Begin a call at one replica."""
        replica = self.replicas[who]
        self.number += 1
        one = Reservation(ACCOUNT, f"g{self.number}", PRICE, LIMIT)
        try:
            self.run(replica.accounts.reserve(one, {}, refusal=_refusal))
        except BudgetExhausted:
            return None
        replica.open.append(one)
        return replica, one

    def is_open(self, replica: Replica, one: Reservation) -> bool:
        """Return whether a call is open in a live process."""
        return replica in self.replicas and one in replica.open

    @rule(call=calls, is_free=st.booleans())
    def settle(self, call: Any, is_free: bool) -> None:  # noqa: FBT001 - drawn
        """End a call, at the price or free."""
        if call is None or not self.is_open(*call):
            return
        self.settle_call(call, is_free=is_free)

    def settle_call(self, call: tuple[Replica, Reservation], *, is_free: bool) -> None:
        """End a call at its replica."""
        replica, one = call
        replica.open.remove(one)
        self.paid += 0 if is_free else PRICE
        self.run(replica.accounts.settle(one, None if is_free else {"ok": True}))

    @rule(who=st.sampled_from([0, 1]), steps=STEPS)
    def dies_in_the_middle_of_beginning(self, who: int, steps: int) -> None:
        """Kill a process at any step of a reservation, before the call."""
        replica = self.replicas[who]
        replica.meets(steps)
        self.number += 1
        one = Reservation(ACCOUNT, f"g{self.number}", PRICE, LIMIT)
        with suppress(BudgetExhausted, Killed):
            self.run(replica.accounts.reserve(one, {}, refusal=_refusal))
        self.bury(who)

    @rule(call=calls, steps=STEPS, is_free=st.booleans())
    def dies_in_the_middle_of_settling(
        self,
        call: Any,
        steps: int,
        is_free: bool,  # noqa: FBT001 - drawn
    ) -> None:
        """Kill a process at any step of a settlement."""
        if call is None or not self.is_open(*call):
            return
        replica, one = call
        replica.open.remove(one)
        self.paid += 0 if is_free else PRICE
        replica.meets(steps)
        with suppress(Killed):
            self.run(replica.accounts.settle(one, None if is_free else {"ok": True}))
        self.bury(self.replicas.index(replica))

    def bury(self, who: int) -> None:
        """Replace a dead process; its open calls may have been paid."""
        self.replicas[who] = self.replica()

    @rule(target=calls, who=st.sampled_from([0, 1]), steps=STEPS, counts=st.booleans())
    def begin_while_redis_is_emptied(
        self,
        who: int,
        steps: int,
        counts: bool,  # noqa: FBT001 - drawn
    ) -> tuple[Replica, Reservation] | None:
        """Empty Redis at any step of a call's beginning; another replica may count."""
        self.replicas[who].meets(steps, self.emptied(who, counts=counts))
        return self.begin_at(who)

    @rule(call=calls, steps=STEPS, is_free=st.booleans(), counts=st.booleans())
    def settle_while_redis_is_emptied(
        self,
        call: Any,
        steps: int,
        is_free: bool,  # noqa: FBT001 - drawn
        counts: bool,  # noqa: FBT001 - drawn
    ) -> None:
        """Empty Redis at any step of a settlement; another replica may count."""
        if call is None or not self.is_open(*call):
            return
        who = self.replicas.index(call[0])
        call[0].meets(steps, self.emptied(who, counts=counts))
        self.settle_call(call, is_free=is_free)

    def emptied(self, who: int, *, counts: bool) -> Callable[[], Awaitable[None]]:
        """Return a fault that empties Redis and lets the other replica count."""

        async def happens() -> None:
            await self.lose()
            if counts:
                other = self.replicas[1 - who]
                # 1. A fault of the other's is left, and empties Redis as this one
                # does. 2. It comes now. 3. Both would wait for each other for ever.
                other.store.steps = other.documents.steps = Steps()
                await other.accounts.balance(ACCOUNT)

        return happens

    @rule()
    def redis_is_emptied(self) -> None:
        """Empty Redis between any two steps."""
        self.run(self.lose())

    @rule(who=st.sampled_from([0, 1]), where=st.sampled_from(["put", "delete"]))
    def the_store_fails_once(self, who: int, where: str) -> None:
        """Cause a reservation or a give-back to fail once; settle it again."""
        replica = self.replicas[who]
        self.number += 1
        one = Reservation(ACCOUNT, f"g{self.number}", PRICE, LIMIT)
        if where == "put":
            self.objects.fail_next("put")
        try:
            self.run(replica.accounts.reserve(one, {}, refusal=_refusal))
        except (BudgetExhausted, StorageUnavailable, CacheUnavailable):
            self.objects._failures.clear()
            self.run(replica.accounts.settle_again())
            return
        self.objects.fail_next("delete")
        self.run(replica.accounts.settle(one, None))
        self.run(replica.accounts.settle_again())

    @precondition(lambda self: any(replica.open for replica in self.replicas))
    @invariant()
    def what_is_under_way_is_in_the_ledger(self) -> None:
        """Require a document for each open call."""
        written = self.written()
        for replica in self.replicas:
            for one in replica.open:
                assert written.get(one.item) == PRICE

    @invariant()
    def the_limit_holds(self) -> None:
        """Require that the ledger's sum is within the limit."""
        assert sum(self.written().values()) <= LIMIT

    def teardown(self) -> None:
        """Bury dead processes; then account and ledger must be equal."""
        for replica in self.replicas:
            self.run(replica.accounts.settle_again())
        written = self.written()
        assert sum(written.values()) >= self.paid
        # Reservations that no replica renews are overdue, as after half a minute.
        self.expire()
        balance = self.run(self.replica().accounts.balance(ACCOUNT))
        assert sum(balance) == sum(written.values())
        self.loop.close()

    def expire(self) -> None:
        """Expire every reservation that no process renews."""
        assert isinstance(self.redis, InMemoryAccounts)
        for kept in self.redis._accounts.values():
            for item, (amount, _) in list(kept.reserved.items()):
                kept.reserved[item] = amount, 0.0


def _refusal() -> BudgetExhausted:
    return BudgetExhausted("It does not fit.")


QUICK = settings(
    max_examples=60,
    stateful_step_count=25,
    deadline=None,
    # A failure is reported as it is found, because shrinking takes minutes.
    phases=(Phase.explicit, Phase.reuse, Phase.generate),
    suppress_health_check=list(HealthCheck),
)


def test_account_and_ledger_agree_in_any_order() -> None:
    """After any kills, losses and failures account and ledger are equal."""
    run_state_machine_as_test(Machine, settings=QUICK)


@pytest.mark.long
def test_account_and_ledger_agree_in_any_order_with_redis(redis_url: str) -> None:
    """After any kills and losses they are equal with Redis's own scripts."""

    class OverRedis(Machine):
        """The machine over a real Redis, emptied at its start."""

        def open_store(self) -> AccountStore:
            """Connect to Redis."""
            self.opened = open_redis(redis_url)
            self.connections = self.run(self.opened.__aenter__())
            self.run(self.connections.leases.execute("FLUSHALL"))
            return RedisAccounts(self.connections.leases)

        async def lose(self) -> None:
            """Empty Redis."""
            await self.connections.leases.execute("FLUSHALL")

        def expire(self) -> None:
            """Make every reservation overdue."""
            execute = self.connections.leases.execute
            for key in self.run(execute("KEYS", "*:due")):
                for item in self.run(execute("ZRANGE", key, 0, -1)):
                    self.run(execute("ZADD", key, 1, item))

        def teardown(self) -> None:
            """Check, and close the connections."""
            loop = self.loop
            close, loop.close = loop.close, lambda: None  # type: ignore[method-assign]
            try:
                super().teardown()
            finally:
                self.run(self.opened.__aexit__(None, None, None))
                close()

    run_state_machine_as_test(OverRedis, settings=QUICK)
