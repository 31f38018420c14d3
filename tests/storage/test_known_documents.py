"""The document cache: fresh within seconds, ten minutes through an outage."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from app.errors import RateLimited, StorageUnavailable
from app.storage.documents import StoredDocuments
from app.storage.known_documents import (
    FRESH_SECONDS,
    MAX_AGE_SECONDS,
    STALE_FOR_SECONDS,
    UNAVAILABLE_SECONDS,
    KnownDocuments,
)
from tests.fakes import InMemoryObjectStore
from tests.manual_clock import ManualClock

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from app.storage.ports.documents import Fields


class Shelf:
    """A document cache over a store in memory, with the test's clock."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.store = InMemoryObjectStore()
        self.documents = StoredDocuments(self.store)
        self.known: KnownDocuments[Fields] = KnownDocuments(
            self.documents, lambda _, fields: fields, clock=self.clock
        )

    @property
    def reads(self) -> int:
        """The number of reads of the store."""
        return self.store.calls["get"]


@pytest.fixture
async def shelf() -> Shelf:
    """Give a cache over a store with one document."""
    made = Shelf()
    await made.documents.write("keys/a", {"n": 1})
    return made


async def test_what_is_in_use_is_cached(shelf: Shelf) -> None:
    """Concurrent reads of a document share one read, and fresh ones need none."""
    found = await asyncio.gather(*(shelf.known.get("keys/a") for _ in range(50)))

    assert found == [{"n": 1}] * 50
    assert shelf.reads == 1
    shelf.clock.now += FRESH_SECONDS - 0.1
    assert shelf.known.cached("keys/a") == {"n": 1}
    assert shelf.reads == 1


async def test_a_change_is_seen_when_it_is_due(shelf: Shelf) -> None:
    """A stale document is read again, and one in use is refreshed."""
    await shelf.known.get("keys/a")
    await shelf.documents.write("keys/a", {"n": 2})
    shelf.clock.now += FRESH_SECONDS + 0.1

    assert shelf.known.cached("keys/a") is None
    assert await shelf.known.get("keys/a") == {"n": 2}
    await shelf.documents.write("keys/a", {"n": 3})
    await shelf.known.refresh()
    assert shelf.known.cached("keys/a") == {"n": 3}


async def test_only_what_is_used_is_refreshed(shelf: Shelf) -> None:
    """A document that is not used is not refreshed."""
    await shelf.known.get("keys/a")
    await shelf.known.refresh()
    reads = shelf.reads
    await shelf.known.refresh()
    assert shelf.reads == reads

    assert shelf.known.cached("keys/a") is not None
    await shelf.known.refresh()
    assert shelf.reads == reads + 1


async def test_what_is_not_there_is_remembered(shelf: Shelf) -> None:
    """A missing document is remembered until it is due, and not refreshed."""
    for _ in range(5):
        assert await shelf.known.get("keys/b") is None
    await shelf.known.refresh()
    assert shelf.reads == 1
    await shelf.documents.write("keys/b", {"n": 7})
    shelf.clock.now += FRESH_SECONDS + 0.1
    assert await shelf.known.get("keys/b") == {"n": 7}


class Line:
    """A limit of look-ups that counts and may refuse."""

    def __init__(self, *, refuses: bool = False) -> None:
        self.refuses = refuses
        self.turns = self.unknown = 0

    @asynccontextmanager
    async def __call__(self) -> AsyncIterator[Callable[[], None]]:
        """Count the look-up, or refuse it."""
        self.turns += 1
        if self.refuses:
            raise RateLimited("Too many.")
        yield self.note

    def note(self) -> None:
        """Count an unknown document."""
        self.unknown += 1


async def test_a_look_up_may_be_refused(shelf: Shelf) -> None:
    """Only a document that is not cached counts as a look-up."""
    refusing = Line(refuses=True)
    with pytest.raises(RateLimited):
        await shelf.known.get("keys/a", look_up=refusing)
    assert shelf.reads == 0
    await shelf.known.get("keys/a")
    shelf.clock.now += FRESH_SECONDS + 0.1
    assert await shelf.known.get("keys/a", look_up=refusing) == {"n": 1}


async def test_those_who_wait_for_one_read_are_one_look_up(shelf: Shelf) -> None:
    """Fifty concurrent reads of a document count as one look-up."""
    line = Line()

    found = await asyncio.gather(
        *(shelf.known.get("keys/a", look_up=line) for _ in range(50)),
        *(shelf.known.get("keys/none", look_up=line) for _ in range(50)),
    )

    assert found == [{"n": 1}] * 50 + [None] * 50
    assert (line.turns, line.unknown, shelf.reads) == (2, 1, 2)


async def test_an_outage_is_outlived_for_ten_minutes(shelf: Shelf) -> None:
    """A cached document is served for ten minutes of an outage."""
    await shelf.known.get("keys/a")
    shelf.store.is_away = True
    shelf.clock.now += FRESH_SECONDS + 0.1

    assert await shelf.known.get("keys/a") == {"n": 1}
    reads = shelf.reads
    assert shelf.known.cached("keys/a") == {"n": 1}
    assert shelf.reads == reads
    with pytest.raises(StorageUnavailable):
        await shelf.known.get("keys/unknown")

    shelf.clock.now += STALE_FOR_SECONDS
    with pytest.raises(StorageUnavailable):
        await shelf.known.get("keys/a")
    await shelf.known.refresh()
    shelf.store.is_away = False
    shelf.clock.now += 10
    assert await shelf.known.get("keys/a") == {"n": 1}


async def test_an_outage_of_one_name_says_nothing_of_another(shelf: Shelf) -> None:
    """An outage of one document does not affect others."""
    await shelf.documents.write("keys/b", {"n": 2})
    shelf.store.objects["_system/keys/a.json"].data = b"not JSON"

    with pytest.raises(StorageUnavailable):
        await shelf.known.get("keys/a")

    assert await shelf.known.get("keys/b") == {"n": 2}
    assert await shelf.known.get("keys/none") is None


async def test_what_pays_is_as_the_ledger_had_it_in_five_seconds(shelf: Shelf) -> None:
    """`current` returns a document of the last five seconds, or raises."""
    assert await shelf.known.current("keys/a") == {"n": 1}
    shelf.store.is_away = True
    shelf.clock.now += MAX_AGE_SECONDS - 0.1
    assert await shelf.known.current("keys/a") == {"n": 1}

    shelf.clock.now += 0.2

    with pytest.raises(StorageUnavailable):
        await shelf.known.current("keys/a")
    assert await shelf.known.get("keys/a") == {"n": 1}
    shelf.store.is_away = False
    await shelf.documents.write("keys/a", {"n": 2})
    shelf.clock.now += UNAVAILABLE_SECONDS + 0.1
    assert await shelf.known.current("keys/a") == {"n": 2}


async def test_the_age_counts_from_the_beginning_of_a_read(shelf: Shelf) -> None:
    """A document's age counts from the beginning of its read."""
    gate = shelf.store.after("get")
    reading = asyncio.create_task(shelf.known.current("keys/a"))
    await gate.reached()
    shelf.clock.now += MAX_AGE_SECONDS + 0.1
    gate.open()
    await reading

    await shelf.known.current("keys/a")

    assert shelf.reads == 2


async def test_a_read_from_before_a_change_is_not_kept(shelf: Shelf) -> None:
    """A read that began before a change is not cached."""
    gate = shelf.store.after("get")
    reading = asyncio.create_task(shelf.known.get("keys/a"))
    await gate.reached()
    await shelf.documents.write("keys/a", {"n": 2})
    shelf.known.forget("keys/a")
    gate.open()
    await reading

    assert await shelf.known.get("keys/a") == {"n": 2}


async def test_a_caller_that_goes_leaves_the_read_to_the_others(shelf: Shelf) -> None:
    """A cancelled caller does not cancel the shared read."""
    gate = shelf.store.after("get")
    first = asyncio.create_task(shelf.known.get("keys/a"))
    second = asyncio.create_task(shelf.known.get("keys/a"))
    await gate.reached()
    first.cancel()
    await asyncio.wait([first])
    gate.open()

    assert await second == {"n": 1}
    assert shelf.reads == 1


async def test_what_was_changed_here_is_read_anew(shelf: Shelf) -> None:
    """A document that this replica changed is read again."""
    await shelf.known.get("keys/a")
    await shelf.documents.write("keys/a", {"n": 2})

    shelf.known.forget("keys/a")

    assert await shelf.known.get("keys/a") == {"n": 2}
