"""Documents at hand: fresh within seconds, and for ten minutes through an outage."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from app.errors import RateLimited, StorageUnavailable
from app.storage.documents import StoredDocuments
from app.storage.known_documents import (
    FRESH_SECONDS,
    STALE_FOR_SECONDS,
    KnownDocuments,
)
from tests.fakes import InMemoryObjectStore

if TYPE_CHECKING:
    from app.storage.ports.documents import Fields


class Clock:
    """A clock that the test turns."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now


class Shelf:
    """Known documents over a store in memory, under a clock of the test's."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.store = InMemoryObjectStore()
        self.documents = StoredDocuments(self.store)
        self.known: KnownDocuments[Fields] = KnownDocuments(
            self.documents, lambda _, fields: fields, clock=self.clock
        )

    @property
    def reads(self) -> int:
        """How often the store was read."""
        return self.store.calls["get"]


@pytest.fixture
async def shelf() -> Shelf:
    """Give a shelf with one document."""
    made = Shelf()
    await made.documents.write("keys/a", {"n": 1})
    return made


async def test_what_is_in_use_is_at_hand(shelf: Shelf) -> None:
    """One read for many who ask, and none while it is fresh."""
    found = await asyncio.gather(*(shelf.known.get("keys/a") for _ in range(50)))

    assert found == [{"n": 1}] * 50
    assert shelf.reads == 1
    shelf.clock.now += FRESH_SECONDS - 0.1
    assert shelf.known.at_hand("keys/a") == {"n": 1}
    assert shelf.reads == 1


async def test_a_change_is_seen_when_it_is_due(shelf: Shelf) -> None:
    """What is stale is not at hand, and is read again; what is in use is refreshed."""
    await shelf.known.get("keys/a")
    await shelf.documents.write("keys/a", {"n": 2})
    shelf.clock.now += FRESH_SECONDS + 0.1

    assert shelf.known.at_hand("keys/a") is None
    assert await shelf.known.get("keys/a") == {"n": 2}
    await shelf.documents.write("keys/a", {"n": 3})
    await shelf.known.refresh()
    assert shelf.known.at_hand("keys/a") == {"n": 3}


async def test_only_what_is_used_is_refreshed(shelf: Shelf) -> None:
    """A document that nobody asks for costs no read."""
    await shelf.known.get("keys/a")
    await shelf.known.refresh()
    reads = shelf.reads
    await shelf.known.refresh()
    assert shelf.reads == reads

    assert shelf.known.at_hand("keys/a") is not None
    await shelf.known.refresh()
    assert shelf.reads == reads + 1


async def test_what_is_not_there_is_remembered(shelf: Shelf) -> None:
    """It is read once until it is due again, and never refreshed."""
    for _ in range(5):
        assert await shelf.known.get("keys/b") is None
    await shelf.known.refresh()
    assert shelf.reads == 1
    await shelf.documents.write("keys/b", {"n": 7})
    shelf.clock.now += FRESH_SECONDS + 0.1
    assert await shelf.known.get("keys/b") == {"n": 7}


async def test_a_look_up_may_be_refused(shelf: Shelf) -> None:
    """Only what is not known asks for leave; a stale one that was known does not."""

    def refuse() -> None:
        raise RateLimited("Too many.")

    with pytest.raises(RateLimited):
        await shelf.known.get("keys/a", before_look_up=refuse)
    assert shelf.reads == 0
    await shelf.known.get("keys/a")
    shelf.clock.now += FRESH_SECONDS + 0.1
    assert await shelf.known.get("keys/a", before_look_up=refuse) == {"n": 1}


async def test_an_outage_is_outlived_for_ten_minutes(shelf: Shelf) -> None:
    """What was known goes on, without a wait; then it is an outage like others."""
    await shelf.known.get("keys/a")
    shelf.store.is_away = True
    shelf.clock.now += FRESH_SECONDS + 0.1

    assert await shelf.known.get("keys/a") == {"n": 1}
    reads = shelf.reads
    assert shelf.known.at_hand("keys/a") == {"n": 1}
    with pytest.raises(StorageUnavailable):
        await shelf.known.get("keys/unknown")
    assert shelf.reads == reads

    shelf.clock.now += STALE_FOR_SECONDS
    with pytest.raises(StorageUnavailable):
        await shelf.known.get("keys/a")
    await shelf.known.refresh()
    shelf.store.is_away = False
    shelf.clock.now += 10
    assert await shelf.known.get("keys/a") == {"n": 1}


async def test_what_was_changed_here_is_read_anew(shelf: Shelf) -> None:
    """Whoever changed it need not wait for its own change."""
    await shelf.known.get("keys/a")
    await shelf.documents.write("keys/a", {"n": 2})

    shelf.known.forget("keys/a")

    assert await shelf.known.get("keys/a") == {"n": 2}
