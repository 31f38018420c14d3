"""The proof of the store: its verdict for each kind of store, and the effects."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from app.errors import StorageUnavailable
from app.storage.documents import StoredDocuments
from app.storage.fence import Fence
from app.storage.fenced_store import FencedStore
from app.storage.filesystem.store import FilesystemObjectStore
from app.storage.ledger_identity import LedgerIdentity
from app.storage.ports.object_store import ConditionRefused
from app.storage.store_proof import CREATES_AT_ONCE, Verdict, prove
from app.telemetry import Metrics
from tests.fakes import InMemoryLedgerMemory, InMemoryObjectStore
from tests.until import until

if TYPE_CHECKING:
    from pathlib import Path


class IgnoresNoneMatch(InMemoryObjectStore):
    """A store whose creates overwrite, as Garage's do."""

    async def create(self, key: str, data: bytes, *, media_type: str) -> str | None:
        """Write over any object."""
        return await self.put(key, data, media_type=media_type)


class IgnoresMatch(InMemoryObjectStore):
    """A store whose replacements ignore the tag."""

    async def replace(
        self,
        key: str,
        data: bytes,
        *,
        etag: str,
        media_type: str,
    ) -> str | None:
        """Write, whatever the tag."""
        return await self.put(key, data, media_type=media_type)


class Races(InMemoryObjectStore):
    """A store that checks, and writes a moment later."""

    async def create(self, key: str, data: bytes, *, media_type: str) -> str | None:
        """Write if the key was free a moment ago."""
        is_free = key not in self.objects
        await asyncio.sleep(0)
        return await self.put(key, data, media_type=media_type) if is_free else None


class Refuses(InMemoryObjectStore):
    """A store that answers 501 to a condition, as Backblaze does."""

    async def create(self, key: str, data: bytes, *, media_type: str) -> str | None:
        """Refuse the condition."""
        raise ConditionRefused("The store answered 501 to a PUT with If-None-Match.")


class NeverMatches(InMemoryObjectStore):
    """A store whose ETags never equal the ones that it compares."""

    async def replace(
        self, key: str, data: bytes, *, etag: str, media_type: str
    ) -> None:
        """Refuse, whatever the tag."""


class Forgets(InMemoryObjectStore):
    """A store that loses what it accepted."""

    async def get(self, key: str) -> None:
        """Return nothing."""


async def a_known_ledger(store: InMemoryObjectStore) -> LedgerIdentity:
    """Return the identity of a ledger known in *store*."""
    identity = LedgerIdentity(
        store, InMemoryLedgerMemory(), name="The bucket pictures", makes=True
    )
    await identity.check()
    store.calls.clear()
    return identity


async def test_a_store_that_lets_one_writer_win_is_proved() -> None:
    """A store with working conditions is proved, and the proof leaves no object."""
    store = InMemoryObjectStore()

    proof = await prove(store)

    assert (proof.verdict, proof.reason) == (Verdict.PROVED, "")
    assert store.calls["create"] == CREATES_AT_ONCE
    assert store.calls["replace"] == 2
    assert store.objects == {}


async def test_a_folder_is_proved(tmp_path: Path) -> None:
    """The folder of embedded mode is proved."""
    store = FilesystemObjectStore(tmp_path / "images")
    await store.make()

    proof = await prove(store)

    assert proof.verdict is Verdict.PROVED
    assert [line.key async for line in store.list("_system/fence/")] == []


@pytest.mark.parametrize(
    ("store", "said"),
    [
        (IgnoresNoneMatch(), "8 of 8 creates"),
        (Races(), "8 of 8 creates"),
        (Refuses(), "501 to a PUT with If-None-Match"),
        (IgnoresMatch(), "ignores If-Match"),
        (NeverMatches(), "whose ETag was right"),
        (Forgets(), "does not give back"),
    ],
)
async def test_a_store_that_keeps_no_promise_fails_and_is_named(
    store: InMemoryObjectStore, said: str
) -> None:
    """A store with broken conditions fails with the reason, and no object is left."""
    proof = await prove(store)

    assert proof.verdict is Verdict.FAILED
    assert said in proof.reason
    assert store.objects == {}


@pytest.mark.parametrize("method", ["create", "get", "replace"])
async def test_a_proof_without_an_answer_says_nothing(method: str) -> None:
    """An outage during the proof gives no verdict."""
    store = InMemoryObjectStore()
    store.fail_next(method)

    proof = await prove(store)

    assert proof.verdict is Verdict.UNPROVED
    assert store.objects == {}


async def test_a_proof_ends_with_its_time() -> None:
    """A proof that gets no answer ends after its time without a verdict."""
    store = InMemoryObjectStore()
    store.before("create")

    proof = await prove(store, within_seconds=0.01)

    assert proof.verdict is Verdict.UNPROVED
    assert "0.01 s" in proof.reason


async def test_a_lost_reply_to_the_winner_is_no_failure() -> None:
    """A proof whose winner's reply was lost gives no verdict."""
    store = InMemoryObjectStore()
    store.lose_reply("create")

    assert (await prove(store)).verdict is Verdict.UNPROVED


async def test_nothing_is_painted_until_the_store_is_proved() -> None:
    """The fence refuses paintings until a repeated proof succeeds."""
    store = InMemoryObjectStore()
    metrics = Metrics()
    fence = Fence(store, metrics=metrics, repeat_seconds=0.01)
    store.fail_next("create", times=CREATES_AT_ONCE)

    refused = await fence.refusal()
    async with fence.proving():
        await fence.watched(store.ping)()
        waited = await fence.refusal()

    assert isinstance(refused, StorageUnavailable)
    assert waited is None
    assert fence.verdict is Verdict.PROVED
    assert b'paintonce_store_fence{verdict="proved"} 1.0' in metrics.render()
    assert b'paintonce_store_fence{verdict="unproved"} 0.0' in metrics.render()


async def test_a_failed_fence_stays_closed(caplog: pytest.LogCaptureFixture) -> None:
    """A failed fence refuses every painting and logs an ERROR with the reason."""
    store = IgnoresNoneMatch()
    fence = Fence(store, metrics=Metrics())

    async with fence.proving():
        await fence.watched(store.ping)()
        await until(lambda: fence.verdict is not Verdict.UNPROVED)
        refused = await fence.refusal()

    assert isinstance(refused, StorageUnavailable)
    (logged,) = [one for one in caplog.records if one.message == "store fence"]
    assert logged.levelname == "ERROR"
    assert "8 of 8 creates" in logged.__dict__["reason"]


async def test_no_proof_begins_before_the_store_has_answered() -> None:
    """The proof does not begin before the store is ready."""
    store = InMemoryObjectStore()
    fence = Fence(store, metrics=Metrics())

    async with fence.proving():
        for _ in range(10):
            await asyncio.sleep(0)

    assert not store.calls


async def test_with_the_lease_no_condition_is_sent(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """With LEDGER_FENCE=lease writes compare first and send no condition."""
    store = Refuses()
    fence = Fence(store, metrics=Metrics(), trusts_lease=True)
    fenced = FencedStore(store, fence, await a_known_ledger(store))

    async with fence.proving():
        first = await fenced.create("a/b/c/d", b"1", media_type="text/plain")
        second = await fenced.create("a/b/c/d", b"2", media_type="text/plain")
        wrong = await fenced.replace(
            "a/b/c/d", b"3", etag='"0"', media_type="text/plain"
        )
        right = await fenced.replace(
            "a/b/c/d", b"4", etag=first or "", media_type="text/plain"
        )
        missing = await fenced.replace(
            "a/b/c/e", b"5", etag='"0"', media_type="text/plain"
        )

    assert await fence.refusal() is None
    assert first is not None
    assert (second, wrong, missing) == (None, None, None)
    assert right is not None
    assert store.objects["a/b/c/d"].data == b"4"
    assert store.calls["create"] == store.calls["replace"] == 0
    assert [one.levelname for one in caplog.records] == ["WARNING"]


async def test_keys_and_rules_go_on_over_a_store_that_failed() -> None:
    """Over a failed store documents are changed without conditions."""
    store = Refuses()
    fence = Fence(store, metrics=Metrics())
    identity = await a_known_ledger(InMemoryObjectStore())
    documents = StoredDocuments(FencedStore(store, fence, identity))
    with pytest.raises(StorageUnavailable):
        await documents.change("keys/one", lambda _: {"role": "read"})

    await fence.decided()
    await documents.change("keys/one", lambda _: {"role": "admin"})

    assert await documents.read("keys/one") == {"role": "admin"}
