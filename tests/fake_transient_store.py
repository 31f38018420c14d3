"""A transient store in a dict; it passes the suite of the real one."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from app.storage.ports.transient_store import (
    Described,
    Inventory,
    QuotaReached,
    StoredImage,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import timedelta

    from app.storage.ports.transient_store import Quota


@dataclass
class _Kept:
    project: str
    data: bytes
    image: StoredImage
    digest: bytes = b""


@dataclass
class InMemoryTransientStore:
    """A store shared by a test's replicas; *reads* has every id that was read."""

    reads: list[str] = field(default_factory=list)
    _kept: dict[str, _Kept] = field(default_factory=dict)

    async def put(
        self,
        image_id: str,
        data: bytes,
        *,
        project: str,
        media_type: str,
        ttl: timedelta | None,
        quota: Quota,
    ) -> StoredImage | QuotaReached:
        """Store *data* and count it, or neither."""
        own = self._of(project)
        everything = sum(len(one.data) for one in self._alive().values())
        if sum(len(one.data) for one in own) + len(data) > quota.in_project:
            return QuotaReached.IN_PROJECT
        if quota.in_all is not None and everything + len(data) > quota.in_all:
            return QuotaReached.IN_ALL
        if len(own) >= quota.pictures:
            return QuotaReached.IN_COUNT
        now = _now()
        lives = None if ttl is None else max(1, round(ttl.total_seconds() * 1000))
        expires = None if lives is None else now + lives
        image = StoredImage(image_id, len(data), media_type, now, expires)
        self._kept[image_id] = _Kept(project, data, image)
        return image

    async def describe(self, image_id: str) -> Described | None:
        """Return the head of a picture, or None if there is none."""
        one = self._alive().get(image_id)
        return None if one is None else Described(len(one.data), one.data[:64])

    async def read(self, image_id: str, first: int, last: int) -> bytes:
        """Return the bytes from *first* to *last*; fewer if they are gone."""
        self.reads.append(image_id)
        one = self._alive().get(image_id)
        if one is None:
            return b""
        return one.data[first:] if last == -1 else one.data[first : last + 1]

    async def forget(
        self, project: str, image_ids: Sequence[str], *, media_type: str | None = None
    ) -> int:
        """Remove those of *image_ids* that *project* has; return their number."""
        mine = [
            one.image.image_id
            for one in self._of(project)
            if one.image.image_id in set(image_ids)
            and media_type in {None, one.image.media_type}
        ]
        for image_id in mine:
            del self._kept[image_id]
        return len(mine)

    async def inventory(self, project: str) -> Inventory:
        """Return a project's pictures and its count, at one moment."""
        images = tuple(one.image for one in self._of(project))
        return Inventory(images, sum(image.size for image in images), _now())

    async def digests(
        self, project: str, image_ids: Sequence[str]
    ) -> Mapping[str, bytes]:
        """Return the digests of those of *image_ids* that *project* has."""
        own = {one.image.image_id: one.digest for one in self._of(project)}
        return {name: own[name] for name in image_ids if name in own}

    async def note_digest(self, image_id: str, digest: bytes) -> None:
        """Store *digest* as long as the picture is there."""
        if image_id in self._kept:
            self._kept[image_id].digest = digest

    async def sweep(self) -> int:
        """Remove expired bytes; return the number of pictures."""
        before = len(self._kept)
        self._kept = self._alive()
        return before - len(self._kept)

    def _alive(self) -> dict[str, _Kept]:
        now = _now()
        return {
            image_id: one
            for image_id, one in self._kept.items()
            if one.image.expires_ms is None or one.image.expires_ms >= now
        }

    def _of(self, project: str) -> list[_Kept]:
        return [one for one in self._alive().values() if one.project == project]


def _now() -> int:
    return time.time_ns() // 1_000_000
