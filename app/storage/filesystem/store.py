"""The object store in a folder: embedded mode's, with all that S3 promises."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from app.errors import StorageUnavailable
from app.storage.filesystem.object_file import NewObject
from app.storage.filesystem.object_folder import ObjectFolder
from app.storage.ports.object_keys import require_plain_key, require_plain_prefix
from app.storage.ports.object_store import Listed, PlaceMissing, StoredObject

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping
    from pathlib import Path

    from app.storage.filesystem.object_file import ObjectFile
    from app.storage.ports.object_store import ByteRange

# A disk may have to spin up, or be a network's.
CALL_TIMEOUT_SECONDS = 10.0
_LISTED_AT_ONCE = 1000

_P = ParamSpec("_P")
_T = TypeVar("_T")


class FilesystemObjectStore:
    """The `ObjectStore` below *root*, which `make` makes.

    Any number of processes may share it. A full disk and missing permissions
    are `StorageUnavailable`, too.
    """

    def __init__(self, root: Path) -> None:
        self._folder = ObjectFolder(root)

    async def put(
        self,
        key: str,
        data: bytes,
        *,
        media_type: str,
        metadata: Mapping[str, str] | None = None,
    ) -> str:
        """Keep *data* under *key*, replacing what was there; return its ETag."""
        new = NewObject(data, media_type, metadata or {})
        return await _off_loop(self._folder.put, require_plain_key(key), new)

    async def create(self, key: str, data: bytes, *, media_type: str) -> str | None:
        """Keep *data* only if *key* is free; return its ETag, or None if it is not."""
        new = NewObject(data, media_type, {})
        return await _off_loop(self._folder.create, require_plain_key(key), new)

    async def replace(
        self, key: str, data: bytes, *, etag: str, media_type: str
    ) -> str | None:
        """Replace *key* only while its tag is *etag*; None if it is not, or is gone."""
        new = NewObject(data, media_type, {})
        return await _off_loop(self._folder.replace, require_plain_key(key), new, etag)

    async def get(self, key: str) -> StoredObject | None:
        """Return a whole small object, or None if there is none."""
        found = await _off_loop(self._folder.read, require_plain_key(key), None)
        return None if found is None else StoredObject(found.data, found.etag)

    @asynccontextmanager
    async def open(
        self, key: str, byte_range: ByteRange | None = None
    ) -> AsyncIterator[ObjectFile | None]:
        """Open *key* for streaming; None if there is none.

        Raises `ValueError` for a range beyond the end.
        """
        yield await _off_loop(self._folder.read, require_plain_key(key), byte_range)

    async def exists(self, key: str) -> bool:
        """Return whether *key* is there."""
        return await _off_loop(self._folder.size, require_plain_key(key)) is not None

    async def delete(self, key: str) -> None:
        """Remove *key*; removing what is not there is a no-op."""
        await _off_loop(self._folder.delete, require_plain_key(key))

    async def list(self, prefix: str, *, after: str = "") -> AsyncIterator[Listed]:
        """Yield the objects whose key starts with *prefix*, in order, after *after*."""
        keys = await _off_loop(self._folder.keys, require_plain_prefix(prefix), after)
        for at in range(0, len(keys), _LISTED_AT_ONCE):
            page = keys[at : at + _LISTED_AT_ONCE]
            for line in await _off_loop(self._folder.sizes, page):
                yield line

    def on_a_line(self, at_once: int) -> FilesystemObjectStore:  # noqa: ARG002 - see below
        """Return the store itself: a disk has one line."""
        return self

    async def ping(self) -> None:
        """Return when the folder is there and writable; raises `PlaceMissing`."""
        if not await _off_loop(self._folder.is_there):
            raise PlaceMissing("The folder is missing.")

    async def make(self) -> None:
        """Make the folder where it is missing."""
        await _off_loop(self._folder.make)


async def _off_loop(
    blocking: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs
) -> _T:
    """Call *blocking* in a thread; a write goes on when its caller is cancelled."""
    try:
        async with asyncio.timeout(CALL_TIMEOUT_SECONDS):
            return await asyncio.to_thread(blocking, *args, **kwargs)
    except OSError as error:
        raise StorageUnavailable("The object store's folder is unavailable.") from error
