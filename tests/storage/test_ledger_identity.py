"""The identity of the ledger: another bucket is an outage."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from app.errors import CacheUnavailable, LaterVersion, StorageUnavailable
from app.storage.fence import Fence
from app.storage.fenced_store import FencedStore
from app.storage.filesystem.store import FilesystemObjectStore
from app.storage.ledger_identity import LedgerIdentity, WrongLedger
from app.storage.ports.object_store import ConditionRefused, PlaceMissing
from app.storage.storage_key import LEDGER_KEY
from app.telemetry import Metrics
from tests.fakes import InMemoryLedgerMemory, InMemoryObjectStore

if TYPE_CHECKING:
    from pathlib import Path

    from app.storage.ports.object_store import ObjectStore

ANOTHER = b'{"version": 1, "id": "another"}'
KEY = "acme/shop/prompts/a.json"


def identity_of(
    store: ObjectStore, memory: InMemoryLedgerMemory, *, makes: bool = True
) -> LedgerIdentity:
    """Return the identity as a new replica knows it."""
    return LedgerIdentity(store, memory, name="The bucket pictures", makes=makes)


@pytest.fixture
def store() -> InMemoryObjectStore:
    """Give a store without its bucket."""
    return InMemoryObjectStore(is_made=False)


@pytest.fixture
def memory() -> InMemoryLedgerMemory:
    """Give a Redis that knows no ledger."""
    return InMemoryLedgerMemory()


async def test_the_first_replicas_make_one_ledger(
    store: InMemoryObjectStore, memory: InMemoryLedgerMemory
) -> None:
    """Two replicas that start at once agree on one ledger id."""
    one, other = identity_of(store, memory), identity_of(store, memory)

    await asyncio.gather(one.check(), other.check())

    assert one.id == other.id == memory.remembered
    assert LEDGER_KEY in store.objects


async def test_a_store_that_refuses_conditions_has_an_identity(
    memory: InMemoryLedgerMemory,
) -> None:
    """A store that refuses conditions gets a ledger id."""

    class Refuses(InMemoryObjectStore):
        async def create(self, key: str, data: bytes, *, media_type: str) -> str | None:
            raise ConditionRefused("501")

    identity = identity_of(Refuses(), memory)

    await identity.check()

    assert identity.id is not None


@pytest.mark.parametrize("by", ["the replica", "Redis"])
@pytest.mark.parametrize("how", ["missing", "empty", "another"])
async def test_another_place_is_an_outage_until_the_right_one_is_back(
    store: InMemoryObjectStore, memory: InMemoryLedgerMemory, how: str, by: str
) -> None:
    """Another bucket is an outage until the right one is back."""
    identity = identity_of(store, memory)
    await identity.check()
    right = dict(store.objects)
    if by == "Redis":
        identity = identity_of(store, memory)
    else:
        memory.remembered = None
    store.objects.clear()
    if how == "missing":
        store.is_made = False
    if how == "another":
        await store.put(LEDGER_KEY, ANOTHER, media_type="application/json")
    before = dict(store.objects)

    for _ in range(2):
        with pytest.raises(WrongLedger) as wrong:
            await identity.check()
        assert "The bucket pictures" in wrong.value.reason
        assert "pictures" not in wrong.value.detail
    with pytest.raises(StorageUnavailable):
        await identity.require()
    assert store.objects == before
    assert store.calls["make"] == 1

    store.is_made = True
    store.objects = right
    if by == "the replica":
        # At once, before the next ping.
        await identity.require()
    await identity.check()
    await identity.require()


async def test_an_adopted_ledger_is_taken_on_by_all(
    store: InMemoryObjectStore, memory: InMemoryLedgerMemory
) -> None:
    """Running replicas accept an adopted ledger."""
    running = identity_of(store, memory)
    await running.check()
    store.objects.clear()
    with pytest.raises(WrongLedger):
        await running.check()

    adopted = await identity_of(store, memory, makes=False).adopt()
    await running.check()

    assert running.id == adopted == memory.remembered


async def test_a_command_makes_nothing(
    store: InMemoryObjectStore, memory: InMemoryLedgerMemory
) -> None:
    """`check` creates neither a bucket nor a ledger id."""
    identity = identity_of(store, memory, makes=False)

    with pytest.raises(PlaceMissing) as missing:
        await identity.check()
    assert "pictures is missing" in missing.value.reason
    assert "pictures" not in missing.value.detail
    store.is_made = True
    await identity.check()

    assert store.objects == {}
    assert store.calls["make"] == 0


async def test_without_redis_nothing_is_made(
    store: InMemoryObjectStore, memory: InMemoryLedgerMemory
) -> None:
    """Without Redis no bucket is created, and an existing ledger is used."""
    memory.is_away = True
    with pytest.raises(CacheUnavailable):
        await identity_of(store, memory).check()
    assert not store.is_made

    memory.is_away = False
    await identity_of(store, memory).check()
    memory.is_away = True
    late = identity_of(store, memory)
    await late.check()
    assert late.id is not None


@pytest.mark.parametrize(
    ("data", "error", "event"),
    [
        (b'{"version": 2, "id": "x"}', LaterVersion, "document of a later version"),
        (b'{"version": 1}', StorageUnavailable, "document is unreadable"),
        (b"{", StorageUnavailable, "document is unreadable"),
    ],
)
async def test_an_unreadable_ledger_is_an_outage(
    caplog: pytest.LogCaptureFixture,
    data: bytes,
    error: type[StorageUnavailable],
    event: str,
) -> None:
    """A later or damaged ledger document is an outage, stays, and is not adopted."""
    store, memory = InMemoryObjectStore(), InMemoryLedgerMemory()
    await store.put(LEDGER_KEY, data, media_type="application/json")
    identity = identity_of(store, memory)

    for reads in (identity.check, identity.adopt):
        with pytest.raises(error):
            await reads()

    assert event in {r.message for r in caplog.records if r.levelname == "ERROR"}
    assert store.objects[LEDGER_KEY].data == data
    assert memory.remembered is None


async def test_what_is_absent_is_believed_of_the_right_ledger_only(
    store: InMemoryObjectStore, memory: InMemoryLedgerMemory
) -> None:
    """A missing object in another bucket is an outage."""
    identity = identity_of(store, memory)
    fence = Fence(store, metrics=Metrics())
    fenced = FencedStore(store, fence, identity)
    await identity.check()
    assert await fenced.get(KEY) is None
    assert not await fenced.exists(KEY)

    right, store.objects = store.objects, {}
    for look in (fenced.get(KEY), fenced.exists(KEY)):
        with pytest.raises(StorageUnavailable):
            await look
    with pytest.raises(StorageUnavailable):
        async with fenced.open(KEY):
            pass
    with pytest.raises(StorageUnavailable):
        await fenced.put(KEY, b"{}", media_type="application/json")
    assert store.objects == {}

    store.objects = right
    await identity.check()
    assert await fenced.get(KEY) is None


async def test_a_folder_that_is_moved_away_is_not_made_again(
    tmp_path: Path, memory: InMemoryLedgerMemory
) -> None:
    """A folder that was moved away is not created again."""
    folder = tmp_path / "images"
    identity = identity_of(FilesystemObjectStore(folder), memory)
    await identity.check()
    folder.rename(tmp_path / "elsewhere")

    with pytest.raises(WrongLedger):
        await identity.check()
    assert not folder.exists()

    (tmp_path / "elsewhere").rename(folder)
    await identity.check()
