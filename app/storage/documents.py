"""Documents in whichever object store there is, below `_system/`.

No project's name begins with an underscore, so nothing of a project lies there.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import orjson

from app.errors import LaterVersion, StorageUnavailable
from app.storage.storage_key import SYSTEM

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from app.storage.ports.documents import Fields
    from app.storage.ports.object_store import ObjectStore, StoredObject

logger = logging.getLogger(__name__)

_JSON = "application/json"
# Of a document that does not name its version, too.
VERSION = 1
_ATTEMPTS = 8


class StoredDocuments:
    """`Documents` over any `ObjectStore`."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store

    async def read(self, name: str) -> Fields | None:
        """Return a document, or None if there is none."""
        stored = await self._store.get(_key(name))
        return None if stored is None else _fields(name, stored)

    async def write(self, name: str, fields: Fields) -> None:
        """Write a document, replacing what was there."""
        await self._store.put(_key(name), orjson.dumps(fields), media_type=_JSON)

    async def change(
        self, name: str, change: Callable[[Fields | None], Fields]
    ) -> Fields:
        """Replace a document by what *change* makes of it, by its tag.

        A write that got through has succeeded, also where its reply was lost:
        the document is read again before the answer.
        """
        key = _key(name)
        for _ in range(_ATTEMPTS):
            stored = await self._store.get(key)
            before = None if stored is None else _fields(name, stored)
            after = change(before)
            if after == before:
                return after
            data = orjson.dumps(after)
            if await self._is_written(key, data, stored):
                return after
        raise StorageUnavailable("The document does not settle.")

    async def _is_written(
        self, key: str, data: bytes, stored: StoredObject | None
    ) -> bool:
        """Write *data* in place of *stored*; False where another write came first."""
        try:
            if stored is None:
                etag = await self._store.create(key, data, media_type=_JSON)
            else:
                etag = await self._store.replace(
                    key, data, etag=stored.etag, media_type=_JSON
                )
        except StorageUnavailable:
            # 1. The write gets through. 2. Its reply is lost.
            kept = await self._store.get(key)
            if kept is None or kept.data != data:
                raise
            return True
        return etag is not None

    async def remove(self, name: str) -> None:
        """Remove a document; removing what is not there is a no-op."""
        await self._store.delete(_key(name))

    async def names(self, prefix: str, *, after: str = "") -> AsyncIterator[str]:
        """Yield the names that start with *prefix*, in order, behind *after*."""
        behind = _key(f"{prefix}{after}") if after else ""
        async for listed in self._store.list(f"{SYSTEM}/{prefix}", after=behind):
            yield listed.key.removeprefix(f"{SYSTEM}/").removesuffix(".json")


def _key(name: str) -> str:
    return f"{SYSTEM}/{name}.json"


def _fields(name: str, stored: StoredObject) -> Fields:
    try:
        fields = orjson.loads(stored.data)
    except orjson.JSONDecodeError:
        fields = None
    if isinstance(fields, dict) and fields.get("version", VERSION) != VERSION:
        logger.error("document of a later version", extra={"document": name})
        raise LaterVersion("A later release wrote a document in the ledger.")
    if not isinstance(fields, dict):
        logger.error("document is unreadable", extra={"document": name})
        raise StorageUnavailable("A document in the ledger can't be read.")
    return fields
