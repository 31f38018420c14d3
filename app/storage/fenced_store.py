"""The object store as the service uses it: the right ledger, behind its fence.

That an object is missing is believed only of the right ledger. Where the store's
conditional writes are not to be used, a create is a look and a write: the lease in
Redis alone keeps others from writing in between.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from app.storage.store_proof import Verdict

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from app.storage.fence import Fence
    from app.storage.ledger_identity import LedgerIdentity
    from app.storage.ports.object_store import (
        ByteRange,
        Listed,
        ObjectBody,
        ObjectStore,
        StoredObject,
    )


class FencedStore:
    """`ObjectStore` over *store*, whose conditional writes are as *fence* says.

    With the verdict `lease` no condition is ever sent. With `failed` there is
    no painting, and keys and rules are written without conditions as well, so
    that they go on over a store that refuses them.
    """

    def __init__(
        self, store: ObjectStore, fence: Fence, identity: LedgerIdentity
    ) -> None:
        self._opened = store
        self._fence = fence
        self._identity = identity

    async def _ready(self) -> ObjectStore:
        """Return the store; raises `WrongLedger` while it is another ledger."""
        await self._identity.require()
        return self._opened

    async def put(
        self,
        key: str,
        data: bytes,
        *,
        media_type: str,
        metadata: Mapping[str, str] | None = None,
    ) -> str:
        """Keep *data* under *key*, replacing what was there; return its ETag."""
        store = await self._ready()
        return await store.put(key, data, media_type=media_type, metadata=metadata)

    async def create(self, key: str, data: bytes, *, media_type: str) -> str | None:
        """Keep *data* only if *key* is free; return its ETag, or None if it is not."""
        store = await self._ready()
        if self._sends_conditions:
            return await store.create(key, data, media_type=media_type)
        if await store.exists(key):
            return None
        return await store.put(key, data, media_type=media_type)

    async def replace(
        self, key: str, data: bytes, *, etag: str, media_type: str
    ) -> str | None:
        """Replace *key* only while its tag is *etag*; None if it is not, or is gone."""
        store = await self._ready()
        if self._sends_conditions:
            return await store.replace(key, data, etag=etag, media_type=media_type)
        stored = await store.get(key)
        if stored is None or stored.etag != etag:
            return None
        return await store.put(key, data, media_type=media_type)

    async def get(self, key: str) -> StoredObject | None:
        """Return a whole small object, or None if there is none."""
        stored = await (await self._ready()).get(key)
        if stored is None:
            await self._identity.confirm()
        return stored

    @asynccontextmanager
    async def open(
        self, key: str, byte_range: ByteRange | None = None
    ) -> AsyncIterator[ObjectBody | None]:
        """Open *key* for streaming; None if there is none."""
        store = await self._ready()
        async with store.open(key, byte_range) as body:
            if body is None:
                await self._identity.confirm()
            yield body

    async def exists(self, key: str) -> bool:
        """Return whether *key* is there."""
        is_there = await (await self._ready()).exists(key)
        if not is_there:
            await self._identity.confirm()
        return is_there

    async def delete(self, key: str) -> None:
        """Remove *key*; removing what is not there is a no-op."""
        await (await self._ready()).delete(key)

    async def list(self, prefix: str, *, after: str = "") -> AsyncIterator[Listed]:
        """Yield the objects that start with *prefix*, after *after*, in key order."""
        store = await self._ready()
        async for listed in store.list(prefix, after=after):
            yield listed

    def on_a_line(self, at_once: int) -> FencedStore:
        """Return the same store, with *at_once* calls that wait for no others."""
        line = self._opened.on_a_line(at_once)
        return FencedStore(line, self._fence, self._identity)

    async def ping(self) -> None:
        """Return when the store answers and is the right ledger."""
        await self._identity.check()

    async def make(self) -> None:
        """Make the bucket where it is missing and that is permitted."""
        await (await self._ready()).make()

    @property
    def _sends_conditions(self) -> bool:
        return self._fence.verdict not in {Verdict.LEASE, Verdict.FAILED}
