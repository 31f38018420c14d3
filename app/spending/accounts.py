"""Accounts: usage per budget, counted in Redis, recorded in the ledger.

The ledger has a document for each item that was used, or may have been; the
name alone has its amount. An account that Redis does not know is counted again
by listing one prefix, before anything more is used.

The order matters. 1. The item is reserved in Redis. 2. Its document is
written. 3. It is reserved once more, which is a no-op. Without the third step:
1. A reserves. 2. Redis is lost. 3. B counts the ledger. 4. A writes its
document, which no replica counts any more, and A's item is used for nothing.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

from app.background import running
from app.errors import CacheUnavailable, PaymentRefused, StorageUnavailable
from app.single_flight import SingleFlight
from app.spending import money
from app.storage.ports.accounts import Exhausted, Reserved

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from app.storage.ports.accounts import (
        Account,
        AccountStore,
        Balance,
        Reservation,
    )
    from app.storage.ports.documents import Documents, Fields

logger = logging.getLogger(__name__)

# A reservation that its replica does not renew is looked for in the ledger.
LIVE_FOR = timedelta(seconds=30)
RENEW_SECONDS = 8.0
SETTLE_WITHIN_SECONDS = 2.0
SETTLE_AGAIN_SECONDS = 1.0
LAST_SECONDS = 0.5
# Of a Redis that is lost again and again while the ledger is counted.
_ATTEMPTS = 5
_MAX_UNSETTLED = 10_000


def prefix_of(account: Account) -> str:
    """Return where the documents of an account lie."""
    return f"{account.name}/"


def document_of(reservation: Reservation) -> str:
    """Return the name of a reservation's document."""
    amount = money.as_text(reservation.amount)
    return f"{prefix_of(reservation.account)}{reservation.item}_{amount}"


def item_of(account: Account, document: str) -> tuple[str, int]:
    """Read the item and its amount from `document_of`; raises `ValueError`."""
    item, _, amount = document.removeprefix(prefix_of(account)).rpartition("_")
    return item, money.of_text(amount)


class Accounts:
    """The accounts of all projects and scopes."""

    def __init__(
        self,
        store: AccountStore,
        documents: Documents,
        *,
        on_degraded: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._store = store
        self._on_degraded = on_degraded
        self._documents = documents
        self._counting: SingleFlight[str, None] = SingleFlight()
        # What is reserved and not settled, by document: it is reserved anew.
        self._live: dict[str, Reservation] = {}
        # What Redis, or the ledger, did not take: by document.
        self._unsettled: dict[str, tuple[Reservation, Fields | None]] = {}

    async def reserve(
        self,
        reservation: Reservation,
        fields: Fields,
        *,
        refusal: Callable[[], PaymentRefused],
        replaces: str | None = None,
    ) -> None:
        """Reserve an amount and write it down; from then on it counts as used.

        It goes on with the amount of the item *replaces*, if there is one.
        Raises *refusal* where it does not fit, `CacheUnavailable` or
        `StorageUnavailable`; then nothing is used.
        """
        may_be_written = False
        try:
            await self._reserve(reservation, refusal, replaces)
            may_be_written = True
            await self._documents.write(document_of(reservation), fields)
            await self._reserve(reservation, refusal)
        except BaseException as failure:
            # Nothing was used, whatever got through of it. It is given back in
            # the background: the caller gets the outage's error now.
            if may_be_written or not isinstance(failure, PaymentRefused):
                self._defer(reservation, None)
            raise
        self._live[document_of(reservation)] = reservation
        if replaces is not None:
            # Once: where it fails, two are used, and none is paid for twice.
            with suppress(CacheUnavailable, StorageUnavailable, TimeoutError):
                async with asyncio.timeout(SETTLE_WITHIN_SECONDS):
                    await self._settle(replace(reservation, item=replaces), None)

    async def settle(self, reservation: Reservation, fields: Fields | None) -> None:
        """Note that an amount was used, as *fields* say, or with None give it back.

        Never fails: what could not be noted is noted again later, and until
        then the amount counts as used.
        """
        self._live.pop(document_of(reservation), None)
        try:
            async with asyncio.timeout(SETTLE_WITHIN_SECONDS):
                await self._settle(reservation, fields)
        except (CacheUnavailable, StorageUnavailable, TimeoutError):
            self._defer(reservation, fields)

    async def keep(self, reservation: Reservation) -> None:
        """Note that an amount was used, as its document says since it was reserved.

        The document is not written again. 1. Redis is emptied. 2. Another
        generation goes on with the amount of one that still runs, and removes
        its document. 3. That one ends: the amount is the other one's by now.
        Never fails: what Redis does not take is counted again once it is due.
        """
        self._live.pop(document_of(reservation), None)
        with suppress(CacheUnavailable, TimeoutError):
            async with asyncio.timeout(SETTLE_WITHIN_SECONDS):
                await self._store.keep(reservation.account, reservation.item)

    async def balance(self, account: Account) -> Balance:
        """Return the balance of an account, counted first where Redis lost it."""
        for _ in range(_ATTEMPTS):
            found = await self._store.balance(account)
            if found is not None:
                return found
            await self._count(account)
        raise CacheUnavailable("The cache loses what it is given.")

    @asynccontextmanager
    async def settled(self) -> AsyncIterator[None]:
        """Settle again what could not be settled, as long as the context is open."""
        try:
            async with (
                running(self._keep_settling(), name="accounts"),
                running(self._keep_alive(), name="reservations"),
            ):
                yield
        finally:
            with suppress(TimeoutError):
                async with asyncio.timeout(LAST_SECONDS):
                    await self.settle_again()

    async def settle_again(self) -> None:
        """Settle once more what could not be settled."""
        unsettled, self._unsettled = self._unsettled, {}
        await asyncio.gather(*(self.settle(*one) for one in unsettled.values()))

    async def _keep_alive(self) -> None:
        while True:
            await asyncio.sleep(RENEW_SECONDS)
            await self.renew()

    async def renew(self) -> None:
        """Hold what is reserved here; what is settled by now needs it no more."""
        for document, one in list(self._live.items()):
            with suppress(CacheUnavailable):
                account, item = one.account, one.item
                if not await self._store.renew(account, item, settle_within=LIVE_FOR):
                    self._live.pop(document, None)

    def _defer(self, reservation: Reservation, fields: Fields | None) -> None:
        if len(self._unsettled) >= _MAX_UNSETTLED:
            # It counts as used until Redis and the ledger are counted again.
            self._on_degraded("unsettled")
            logger.error("reservation is left unsettled")
        else:
            self._unsettled[document_of(reservation)] = reservation, fields

    async def _keep_settling(self) -> None:
        while True:
            await asyncio.sleep(SETTLE_AGAIN_SECONDS)
            await self.settle_again()

    async def _settle(self, reservation: Reservation, fields: Fields | None) -> None:
        # The ledger first: a count that begins after that is right.
        if fields is None:
            # 1. A count takes an open call for paid. 2. Its document is removed.
            # 3. The replica dies: what is not settled then is counted again.
            account, item = reservation.account, reservation.item
            await self._store.reopen(account, item, settle_within=LIVE_FOR)
            await self._documents.remove(document_of(reservation))
        else:
            await self._documents.write(document_of(reservation), fields)
        amount = 0 if fields is None else reservation.amount
        await self._store.settle(reservation.account, reservation.item, amount)

    async def _reserve(
        self,
        reservation: Reservation,
        refusal: Callable[[], PaymentRefused],
        replaces: str | None = None,
    ) -> None:
        for _ in range(_ATTEMPTS):
            verdict = await self._store.reserve(
                reservation, settle_within=LIVE_FOR, replaces=replaces
            )
            match verdict:
                case Reserved():
                    return
                case Exhausted():
                    raise refusal()
            await self._count(reservation.account)
        raise CacheUnavailable("The cache loses what it is given.")

    async def _count(self, account: Account) -> None:
        """Count an account from the ledger, once for all who need it meanwhile."""

        async def count() -> None:
            items = {}
            async for name in self._documents.names(prefix_of(account)):
                try:
                    item, amount = item_of(account, name)
                except ValueError:
                    logger.warning("document of an account is unreadable")
                    continue
                items[item] = amount
            await self._store.count(account, items)
            logger.info(
                "account counted", extra={"account": account.name, "items": len(items)}
            )

        await self._counting.share(account.name, count)
