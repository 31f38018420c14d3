"""Painted pictures as references: a project's own, by their ids."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, NamedTuple

from app.storage.storage_key import GENERATED, StorageKey

if TYPE_CHECKING:
    from app.storage.ports.object_store import ObjectStore
    from app.storage.storage_key import Project

# A picture under its id never changes, so what is known of it may stay.
_MAX_KNOWN = 4096
_DIGEST = "sha256"


class PaintedPicture(NamedTuple):
    """A picture of the object store: where it lies, its bytes and their SHA-256."""

    key: str
    size: int
    digest: bytes


class PaintedPictures:
    """The pictures that a project's prompts have been painted as."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store
        self._known: OrderedDict[str, PaintedPicture] = OrderedDict()

    async def find(self, project: Project, image_id: str) -> PaintedPicture | None:
        """Return the picture *image_id* of *project*, None where there is none.

        Raises `StorageUnavailable`.
        """
        prefix = f"{project}/{GENERATED}/{image_id}."
        async for listed in self._store.list(prefix):
            return await self._described(str(StorageKey.parse(listed.key)))
        return None

    async def read(self, project: Project, image_id: str) -> bytes | None:
        """Return the bytes of a picture, None where it is gone."""
        found = await self.find(project, image_id)
        stored = await self._store.get(found.key) if found else None
        return stored.data if stored else None

    async def _described(self, key: str) -> PaintedPicture | None:
        if key in self._known:
            self._known.move_to_end(key)
            return self._known[key]
        async with self._store.open(key) as body:
            if body is None or _DIGEST not in body.metadata:
                return None
            digest = bytes.fromhex(body.metadata[_DIGEST])
            found = PaintedPicture(key, body.size, digest)
        self._known[key] = found
        if len(self._known) > _MAX_KNOWN:
            self._known.popitem(last=False)
        return found
