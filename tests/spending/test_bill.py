"""A day's bill: a thousand calls a page, 32 of them read at once."""

from __future__ import annotations

import asyncio
from datetime import date
from typing import TYPE_CHECKING
from uuid import UUID

import pytest

from app.spending.accounts import Accounts
from app.spending.journal import Journal
from app.storage.documents import StoredDocuments
from app.storage.storage_key import Project
from tests.access.fakes import InMemoryAccounts
from tests.fakes import InMemoryObjectStore

if TYPE_CHECKING:
    from app.storage.ports.object_store import StoredObject

SHOP, DAY = Project("acme", "shop"), date(2026, 11, 29)
CALLS = 2_000
AT_ONCE = 32
PRICE_UNITS = 40_000_000


class BusyStore(InMemoryObjectStore):
    """A store whose reads overlap; *most* is the largest number at once."""

    def __init__(self) -> None:
        super().__init__()
        self.reading = self.most = 0

    async def get(self, key: str) -> StoredObject | None:
        """Return an object after all reads that have begun by now."""
        self.reading += 1
        self.most = max(self.most, self.reading)
        try:
            for _ in range(3):
                await asyncio.sleep(0)
            return await super().get(key)
        finally:
            self.reading -= 1


@pytest.fixture
async def store() -> BusyStore:
    """Give a store with the calls of one day."""
    store = BusyStore()
    documents = StoredDocuments(store)
    for number in range(CALLS):
        generation_id = str(UUID(int=number))
        fields = {
            "generation_id": generation_id,
            "at": f"2026-11-29T12:00:00.{number:06}+00:00",
            "amount": 0.04,
            "model": "default",
            "outcome": "ok",
        }
        name = f"spend/{SHOP}/{DAY}/{generation_id}_1_0.04"
        await documents.write(name, fields)
    return store


async def test_the_calls_of_a_bill_are_read_at_once(store: BusyStore) -> None:
    """A14: a bill of 2,000 calls is two pages, 32 calls of which are read at once."""
    documents = StoredDocuments(store)
    journal = Journal(Accounts(InMemoryAccounts(), documents), documents)

    first = await journal.bill(SHOP, DAY)
    assert first.cursor is not None
    second = await journal.bill(SHOP, DAY, after=first.cursor)

    calls = [call["generation_id"] for call in (*first.calls, *second.calls)]
    assert calls == [str(UUID(int=number)) for number in range(CALLS)]
    assert (len(first.calls), second.cursor) == (1_000, None)
    assert first.total == second.total == CALLS * PRICE_UNITS
    assert store.most == AT_ONCE
