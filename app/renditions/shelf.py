"""The shelf: renditions in the object store, beside their pictures."""

from __future__ import annotations

import re
from contextlib import suppress
from hashlib import sha256
from typing import TYPE_CHECKING, Protocol

from app.errors import StorageUnavailable
from app.renditions.rendition import StoredRendition

if TYPE_CHECKING:
    from app.renditions.drawing import Drawn
    from app.renditions.rendition import Original, RenditionPlan
    from app.storage.ports.object_store import ObjectStore

# Up to here one is read whole when it is looked for.
SMALL_BYTES = 262_144

_DIGEST = re.compile(r"[0-9a-f]{64}")
_LOST = "c2pa-lost"


class OriginalGone(Exception):
    """The picture of which there should be a rendition is not in the store."""


class Memory(Protocol):
    """Holds some pictures in memory."""

    def keep(self, image_id: str, data: bytes) -> None:
        """Hold *data* under a name if it is small enough."""
        ...


class Shelf:
    """Reads and writes renditions. Raises `StorageUnavailable`."""

    def __init__(self, store: ObjectStore, memory: Memory) -> None:
        self._store = store
        self._memory = memory

    async def find(
        self, original: Original, plan: RenditionPlan
    ) -> StoredRendition | None:
        """Return the stored rendition; None without one, and for damaged bytes."""
        sought = _stored(original, plan)
        async with self._store.open(str(sought.storage_key)) as body:
            if body is None:
                return None
            digest = body.metadata.get("sha256", "")
            if not _DIGEST.fullmatch(digest):
                return None
            found = sought._replace(
                size=body.size,
                digest=digest,
                c2pa_lost=original.c2pa_lost or _LOST in body.metadata,
            )
            if body.size <= SMALL_BYTES:
                data = b"".join([chunk async for chunk in body.chunks()])
                if sha256(data).hexdigest() != digest:
                    return None
                self._memory.keep(found.memory_key, data)
            return found

    async def keep(
        self, original: Original, plan: RenditionPlan, drawn: Drawn
    ) -> StoredRendition:
        """Store what was drawn, unless its picture is gone; then `OriginalGone`.

        1. It is drawn. 2. A purge removes the picture, and the renditions that
        it finds. 3. What was drawn is stored, and would outlive the purge: so
        the picture is looked for again after that.
        """
        made = _stored(original, plan)._replace(
            size=len(drawn.data),
            digest=sha256(drawn.data).hexdigest(),
            c2pa_lost=original.c2pa_lost or drawn.c2pa,
        )
        key = str(made.storage_key)
        metadata = {
            "sha256": made.digest,
            "created-at": original.created_at.isoformat(),
            **({_LOST: "true"} if made.c2pa_lost else {}),
        }
        await self._store.put(
            key, drawn.data, media_type=made.media_type, metadata=metadata
        )
        try:
            is_there = await self._store.exists(str(original.storage_key))
        except StorageUnavailable:
            with suppress(StorageUnavailable):
                await self._store.delete(key)
            raise
        if not is_there:
            await self._store.delete(key)
            raise OriginalGone
        self._memory.keep(made.memory_key, drawn.data)
        return made


def _stored(original: Original, plan: RenditionPlan) -> StoredRendition:
    return StoredRendition(
        original.project,
        original.image_id,
        plan.filename,
        plan.media_type,
        0,
        "",
        original.created_at,
        original.c2pa_lost,
    )
