"""The contract of `Documents`, over each object store."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from app.errors import StorageUnavailable
from app.prompt_cache.entry.ledger import Ledger
from app.storage.documents import StoredDocuments
from app.storage.filesystem.store import FilesystemObjectStore
from app.storage.s3 import open_s3_object_store
from tests.fakes import InMemoryObjectStore

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from app.storage.ports.documents import Fields
    from app.storage.ports.object_store import ObjectStore


@pytest.fixture(params=["memory", "filesystem", "s3"])
async def store(
    request: pytest.FixtureRequest, tmp_path: Path
) -> AsyncIterator[ObjectStore]:
    """Give each object store, empty."""
    match request.param:
        case "memory":
            yield InMemoryObjectStore()
        case "filesystem":
            kept = FilesystemObjectStore(tmp_path)
            await kept.make()
            yield kept
        case _:
            bucket = request.getfixturevalue("bucket")
            async with open_s3_object_store(bucket=bucket) as opened:
                await opened.make()
                yield opened


async def test_documents_are_written_read_and_removed(store: ObjectStore) -> None:
    """Documents are written, listed and removed by name; a missing one is None."""
    documents = StoredDocuments(store)
    assert await documents.read("keys/a") is None
    await documents.write("keys/a", {"n": 1, "text": "雪"})
    await documents.write("keys/b", {})
    await documents.write("spend/acme/shop/2026-11-26/x_1_0.04", {"n": 2})

    assert await documents.read("keys/a") == {"n": 1, "text": "雪"}
    assert [name async for name in documents.names("keys/")] == ["keys/a", "keys/b"]
    assert [name async for name in documents.names("spend/acme/shop/")] == [
        "spend/acme/shop/2026-11-26/x_1_0.04"
    ]
    for _ in range(2):
        await documents.remove("keys/a")
    assert await documents.read("keys/a") is None


async def test_changes_at_once_all_count(store: ObjectStore) -> None:
    """Concurrent changes of one document all take effect."""
    documents = StoredDocuments(store)

    def one_more(fields: Fields | None) -> Fields:
        return {"n": (fields or {"n": 0})["n"] + 1}

    await asyncio.gather(*(documents.change("projects/a/b", one_more) for _ in "abc"))

    assert await documents.read("projects/a/b") == {"n": 3}


@pytest.mark.parametrize("method", ["create", "replace"])
async def test_a_change_whose_reply_is_lost_has_succeeded(method: str) -> None:
    """A change whose reply is lost succeeds if it took effect, else is an outage."""
    store = InMemoryObjectStore()
    documents = StoredDocuments(store)
    if method == "replace":
        await documents.write("projects/a/b", {"n": 1})

    store.lose_reply(method)
    assert await documents.change("projects/a/b", lambda _: {"n": 2}) == {"n": 2}
    assert await documents.read("projects/a/b") == {"n": 2}

    store.fail_next("replace")
    with pytest.raises(StorageUnavailable):
        await documents.change("projects/a/b", lambda _: {"n": 3})
    assert await documents.read("projects/a/b") == {"n": 2}


async def test_what_is_no_document_is_an_outage(store: ObjectStore) -> None:
    """A damaged document is an outage and not a missing one."""
    await store.put("_system/keys/a.json", b"{", media_type="application/json")
    await store.put("_system/keys/b.json", b"[]", media_type="application/json")
    for name in ("keys/a", "keys/b"):
        with pytest.raises(StorageUnavailable):
            await StoredDocuments(store).read(name)


async def test_a_rebuild_passes_them_over(store: ObjectStore) -> None:
    """A rebuild takes no document for a project."""
    documents = StoredDocuments(store)
    await documents.write("spend/prompts/shop/2026-11-26/x", {})
    await documents.write("keys/prompts", {})
    await store.put("acme/shop/prompts/x.json", b"{}", media_type="application/json")
    await store.put("zoo/x/prompts/x.json", b"{}", media_type="application/json")

    projects = [str(project) async for project in Ledger(store).projects()]

    assert projects == ["acme/shop", "zoo/x"]
