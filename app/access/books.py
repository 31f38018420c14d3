"""The books: what is used up, in Redis for speed and in the ledger for good.

Redis counts; the ledger has a document for each item that was used, or may
have been, whose name alone has its amount. An account that Redis knows nothing
of is counted again by listing one prefix, before anything more is used.

The order is the promise. 1. The item is reserved in Redis. 2. Its document is
written. 3. It is reserved once more, which is a no-op. Without the third step:
1. A reserves. 2. Redis is lost. 3. B counts the ledger. 4. A writes its
document, which nobody counts any more, and A's item is used for nothing.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from app.access import money
from app.background import running
from app.errors import CacheUnavailable, PaymentRefused, StorageUnavailable
from app.single_flight import SingleFlight
from app.storage.ports.allowances import Exhausted, Reserved

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from datetime import timedelta

    from app.storage.ports.allowances import Account, Allowances, Balance
    from app.storage.ports.documents import Documents, Fields

logger = logging.getLogger(__name__)

SETTLE_WITHIN_SECONDS = 2.0
SETTLE_AGAIN_SECONDS = 1.0
LAST_SECONDS = 0.5
# Of a Redis that is lost again and again while the ledger is counted.
_ATTEMPTS = 5
_MOST_UNSETTLED = 10_000


@dataclass(frozen=True, slots=True)
class Book:
    """An *account*, where its documents lie, and what fits into it.

    Amounts are whole: billionths of money, or places.
    """

    account: Account
    prefix: str
    limit: int | None

    def document_of(self, item: str, amount: int) -> str:
        """Return the name of an item's document."""
        return f"{self.prefix}{item}_{money.as_text(amount)}"

    def item_of(self, name: str) -> tuple[str, int]:
        """Read what `document_of` made; raises `ValueError`."""
        item, _, amount = name.removeprefix(self.prefix).rpartition("_")
        return item, money.of_text(amount)


@dataclass(frozen=True, slots=True)
class Entry:
    """One item of a book, reserved for *amount*."""

    book: Book
    item: str
    amount: int

    @property
    def document(self) -> str:
        """The name of its document."""
        return self.book.document_of(self.item, self.amount)


class Books:
    """Every book that this replica writes in."""

    def __init__(self, allowances: Allowances, documents: Documents) -> None:
        self._allowances = allowances
        self._documents = documents
        self._counting: SingleFlight[str, None] = SingleFlight()
        # What Redis, or the ledger, was not told: by document.
        self._unsettled: dict[str, tuple[Entry, Fields | None]] = {}

    async def enter(
        self,
        entry: Entry,
        fields: Fields,
        *,
        settle_within: timedelta,
        refusal: Callable[[], PaymentRefused],
    ) -> None:
        """Reserve an entry and write it down; from then on it counts as used.

        Raises *refusal* where it does not fit, `CacheUnavailable` or
        `StorageUnavailable`; then nothing is used.
        """
        may_be_written = False
        try:
            await self._reserve(entry, settle_within, refusal)
            may_be_written = True
            await self._documents.write(entry.document, fields)
            await self._reserve(entry, settle_within, refusal)
        except BaseException as failure:
            # Nothing was used, whatever got through of it: that is told later,
            # because whoever waits had better hear of the outage now.
            if may_be_written or not isinstance(failure, PaymentRefused):
                self._defer(entry, None)
            raise

    async def settle(self, entry: Entry, fields: Fields | None) -> None:
        """Note that an entry was used, as *fields* say, or with None give it back.

        Never fails: what could not be told is told again later, and until
        then the entry counts as used.
        """
        try:
            async with asyncio.timeout(SETTLE_WITHIN_SECONDS):
                await self._settle(entry, fields)
        except (CacheUnavailable, StorageUnavailable, TimeoutError):
            self._defer(entry, fields)

    async def balance(self, book: Book) -> Balance:
        """Return what a book has used, counting it first where Redis lost it."""
        for _ in range(_ATTEMPTS):
            found = await self._allowances.balance(book.account)
            if found is not None:
                return found
            await self._count(book)
        raise CacheUnavailable("The cache loses what it is told.")

    @asynccontextmanager
    async def settled(self) -> AsyncIterator[None]:
        """Tell again what could not be told, as long as the context is open."""
        try:
            async with running(self._keep_settling(), name="books"):
                yield
        finally:
            with suppress(TimeoutError):
                async with asyncio.timeout(LAST_SECONDS):
                    await self.settle_again()

    async def settle_again(self) -> None:
        """Tell once more what could not be told."""
        unsettled, self._unsettled = self._unsettled, {}
        await asyncio.gather(*(self.settle(*one) for one in unsettled.values()))

    def _defer(self, entry: Entry, fields: Fields | None) -> None:
        if len(self._unsettled) < _MOST_UNSETTLED:
            self._unsettled[entry.document] = entry, fields

    async def _keep_settling(self) -> None:
        while True:
            await asyncio.sleep(SETTLE_AGAIN_SECONDS)
            await self.settle_again()

    async def _settle(self, entry: Entry, fields: Fields | None) -> None:
        # The ledger first: whoever counts it after that counts what is right.
        if fields is None:
            await self._documents.remove(entry.document)
        else:
            await self._documents.write(entry.document, fields)
        amount = 0 if fields is None else entry.amount
        await self._allowances.settle(entry.book.account, entry.item, amount)

    async def _reserve(
        self,
        entry: Entry,
        settle_within: timedelta,
        refusal: Callable[[], PaymentRefused],
    ) -> None:
        book = entry.book
        for _ in range(_ATTEMPTS):
            verdict = await self._allowances.reserve(
                book.account,
                entry.item,
                entry.amount,
                limit=book.limit,
                settle_within=settle_within,
            )
            match verdict:
                case Reserved():
                    return
                case Exhausted():
                    raise refusal()
            await self._count(book)
        raise CacheUnavailable("The cache loses what it is told.")

    async def _count(self, book: Book) -> None:
        """Count a book from the ledger; whoever asks meanwhile waits for it."""

        async def count() -> None:
            items = {}
            async for name in self._documents.names(book.prefix):
                try:
                    item, amount = book.item_of(name)
                except ValueError:
                    logger.warning("entry of a book is unreadable")
                    continue
                items[item] = amount
            await self._allowances.count(book.account, items)
            logger.info(
                "book counted", extra={"book": book.prefix, "entries": len(items)}
            )

        await self._counting.share(book.prefix, count)
