"""Transient images as callers see them: kept, listed, or open to be read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from app.errors import NotFound
from app.storage.ports.object_store import ByteRange

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from datetime import datetime, timedelta

    from app.storage.ports.transient_store import TransientStore

# What a reader holds of a picture at a time, however slow it is.
SLICE_BYTES = 128 * 1024


@dataclass(frozen=True, slots=True)
class TransientImage:
    """A picture that was kept; *reachable* says if the outside world can fetch it."""

    id: str
    url: str
    content_type: str
    size: int
    created_at: datetime
    expires_at: datetime | None
    reachable: bool


@dataclass(frozen=True, slots=True)
class ListedImage:
    """One line of a project's list."""

    id: str
    size: int
    content_type: str
    created_at: datetime
    age: timedelta
    expires_at: datetime | None


@dataclass(frozen=True, slots=True)
class TransientListing:
    """The images of a project, and how much of its quota they use."""

    images: tuple[ListedImage, ...]
    quota_used_bytes: int
    quota_bytes: int


@dataclass(frozen=True, slots=True)
class OpenImage:
    """A picture that is there to be read, as often as one likes."""

    content_type: str
    size: int
    _id: str
    _store: TransientStore

    async def chunks(self, byte_range: ByteRange | None = None) -> AsyncIterator[bytes]:
        """Yield the picture, or a range of it, in slices.

        Raises `NotFound` when it is removed meanwhile, and `CacheUnavailable`.
        """
        part = byte_range or ByteRange(0, self.size - 1)
        for first in range(part.first, part.last + 1, SLICE_BYTES):
            last = min(first + SLICE_BYTES - 1, part.last)
            data = await self._store.read(self._id, first, last)
            if len(data) != last - first + 1:
                raise NotFound("The picture is gone.")
            yield data
