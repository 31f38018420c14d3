"""The bytes that an answer sends, whichever picture they are of."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Protocol

from app.prompt_cache.painting.pictures import PictureGone

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from contextlib import AbstractAsyncContextManager

    from app.api.picture_heads import PictureHead
    from app.prompt_cache.cache import Answer, PromptCache
    from app.prompt_cache.painting.pictures import Pictures
    from app.renditions import StoredRendition
    from app.storage.ports.object_store import ByteRange


class PictureBody(Protocol):
    """The bytes of what is answered: a prompt's picture, or a rendition of it."""

    @property
    def head(self) -> PictureHead:
        """Return the headers that every answer with it has."""
        ...

    @property
    def size(self) -> int:
        """Return how many bytes it has."""
        ...

    def cached_bytes(self) -> bytes | None:
        """Return the bytes if this replica holds them."""
        ...

    async def require(self) -> None:
        """Return if `read` or `open` would give the bytes; raises `PictureGone`."""
        ...

    async def read(self) -> bytes | None:
        """Return bytes that are in memory or few, else None."""
        ...

    def open(
        self, byte_range: ByteRange | None = None
    ) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        """Open the bytes for streaming; raises `PictureGone`."""
        ...


class PaintedBody:
    """The picture of a prompt itself."""

    __slots__ = ("_answer", "_cache", "head", "size")

    def __init__(self, cache: PromptCache, answer: Answer, head: PictureHead) -> None:
        self._cache = cache
        self._answer = answer
        self.head = head
        self.size = answer.entry.size

    def cached_bytes(self) -> bytes | None:
        """Return the bytes if this replica holds them."""
        return self._cache.cached_bytes(self._answer)

    async def require(self) -> None:
        """Return if the ledger has the picture."""
        await self._cache.require(self._answer)

    async def read(self) -> bytes | None:
        """Return bytes that are in memory or few, else None."""
        return await self._cache.read(self._answer)

    def open(
        self, byte_range: ByteRange | None = None
    ) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        """Open the picture in the ledger."""
        return self._cache.open(self._answer, byte_range)


class RenditionBody:
    """The bytes of a rendition, and what every answer with it says."""

    __slots__ = ("_pictures", "head", "size", "stored")

    def __init__(
        self, pictures: Pictures, stored: StoredRendition, head: PictureHead
    ) -> None:
        self._pictures = pictures
        self.stored = stored
        self.head = head
        self.size = stored.size

    def cached_bytes(self) -> bytes | None:
        """Return the bytes if this replica holds them."""
        return self._pictures.cached_bytes(self.stored)

    async def require(self) -> None:
        """Return if the store has the rendition; raises `RenditionGone`."""
        async with _noticing_loss():
            await self._pictures.require(self.stored)

    async def read(self) -> bytes | None:
        """Return bytes that are in memory or few, else None."""
        async with _noticing_loss():
            return await self._pictures.read(self.stored)

    @asynccontextmanager
    async def open(
        self, byte_range: ByteRange | None = None
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        """Open the rendition in the store."""
        async with (
            _noticing_loss(),
            self._pictures.open(self.stored, byte_range) as chunks,
        ):
            yield chunks


class RenditionGone(Exception):
    """A rendition is not where it was stored: it is made again."""


@asynccontextmanager
async def _noticing_loss() -> AsyncIterator[None]:
    try:
        yield
    except PictureGone as error:
        raise RenditionGone from error
