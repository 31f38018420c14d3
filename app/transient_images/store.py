"""TransientImages: keep a picture under an address until it is taken back."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from uuid import uuid4

from app import urls
from app.errors import (
    InvalidParameter,
    QuotaFull,
    ReferencesGone,
    UnsupportedImage,
)
from app.image import EXTENSIONS, Image, sniff
from app.storage.ports.transient_store import NoRoom, Room
from app.storage.storage_key import is_image_id
from app.transient_images.images import (
    ListedImage,
    OpenImage,
    TransientImage,
    TransientListing,
)
from app.transient_images.reachability import is_reachable
from app.transient_images.sweeper import sweeping

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import AbstractAsyncContextManager

    from app.storage.ports.transient_store import TransientStore
    from app.storage.storage_key import Project

# Bounds the list, which is read in one step, and what the books weigh: the
# byte quota alone would let millions of tiny pictures in.
MAX_PICTURES = 20_000

_REFUSALS = {
    NoRoom.IN_PROJECT: "The project's quota of transient images has no room for it.",
    NoRoom.IN_ALL: "The service's quota of transient images has no room for it.",
    NoRoom.IN_COUNT: f"The project has {MAX_PICTURES} transient images already.",
    NoRoom.IN_CACHE: "The cache has no memory left for it.",
}


class TransientImages:
    """Pictures with an address, each until it is taken back or its time is up.

    *default_ttl_seconds* of 0 is none; *total_bytes* of 0 is no bound over all
    projects. Every method raises `CacheUnavailable` when the cache is away.
    """

    def __init__(
        self,
        shelf: TransientStore,
        *,
        base_url: str,
        max_image_bytes: int,
        quota_bytes: int,
        total_bytes: int = 0,
        default_ttl_seconds: float = 0,
    ) -> None:
        self.max_image_bytes = max_image_bytes
        self._shelf = shelf
        self._base_url = base_url.rstrip("/")
        self._reachable = is_reachable(base_url)
        self._room = Room(quota_bytes, total_bytes or None, MAX_PICTURES)
        self._default_ttl_seconds = default_ttl_seconds

    def swept(self) -> AbstractAsyncContextManager[None]:
        """Give memory back as long as the context is open; see `sweeper`."""
        return sweeping(self._shelf)

    async def keep(
        self, project: Project, data: bytes, *, ttl_seconds: float | None = None
    ) -> TransientImage:
        """Keep *data* and return its address.

        Raises `UnsupportedImage`, or `QuotaFull`: nothing that lives is ever
        evicted. Without *ttl_seconds* the default applies.
        """
        media_type = sniff(data)
        if media_type is None:
            raise UnsupportedImage("The bytes are no PNG, JPEG, WebP, GIF or AVIF.")
        seconds = self._default_ttl_seconds if ttl_seconds is None else ttl_seconds
        shelved = await self._shelf.put(
            str(uuid4()),
            data,
            project=str(project),
            media_type=media_type,
            ttl=timedelta(seconds=seconds) if seconds else None,
            room=self._room,
        )
        if isinstance(shelved, NoRoom):
            raise QuotaFull(_REFUSALS[shelved])
        name = f"{shelved.image_id}.{EXTENSIONS[media_type]}"
        return TransientImage(
            id=shelved.image_id,
            url=f"{self._base_url}{urls.transient(name)}",
            content_type=media_type,
            size=shelved.size,
            created_at=_moment(shelved.created_ms),
            expires_at=_moment_or_none(shelved.expires_ms),
            reachable=self._reachable,
        )

    async def open(self, image_id: str) -> OpenImage | None:
        """Return the picture under *image_id*, whoever uploaded it, or None."""
        if not is_image_id(image_id):
            return None
        found = await self._shelf.describe(image_id)
        media_type = sniff(found.head) if found else None
        if found is None or media_type is None:
            return None
        return OpenImage(media_type, found.size, image_id, self._shelf)

    async def forget(
        self,
        project: Project,
        image_ids: Sequence[str],
        *,
        content_type: str | None = None,
    ) -> int:
        """Delete what *project* has of *image_ids*; return how many those were.

        Unknown, malformed, foreign and repeated ids are not counted, nor with
        *content_type* pictures of another type.
        """
        known = [image_id for image_id in image_ids if is_image_id(image_id)]
        return await self._shelf.forget(str(project), known, media_type=content_type)

    async def list(self, project: Project) -> TransientListing:
        """Return what *project* keeps, the oldest first."""
        inventory = await self._shelf.inventory(str(project))
        images = [
            ListedImage(
                id=found.image_id,
                size=found.size,
                content_type=found.media_type,
                created_at=_moment(found.created_ms),
                age=timedelta(milliseconds=inventory.now_ms - found.created_ms),
                expires_at=_moment_or_none(found.expires_ms),
            )
            for found in sorted(inventory.images, key=lambda image: image.created_ms)
        ]
        return TransientListing(
            tuple(images), inventory.taken_bytes, self._room.in_project
        )

    async def references(
        self, project: Project, image_ids: Sequence[str]
    ) -> tuple[Image, ...]:
        """Return pictures of *project* in the order of *image_ids*.

        Raises `ReferencesGone` where one is missing, malformed or another
        project's, and `InvalidParameter` where one is no readable picture.
        """
        if not all(map(is_image_id, image_ids)):
            raise ReferencesGone("A reference picture is gone.")
        if not image_ids:
            return ()
        if not await self._shelf.owned(str(project), image_ids):
            raise ReferencesGone("A reference picture is gone.")
        return tuple([await self._inspected(image_id) for image_id in image_ids])

    async def _inspected(self, image_id: str) -> Image:
        data = await self._shelf.read(image_id, 0, -1)
        if not data:
            raise ReferencesGone("A reference picture is gone.")
        try:
            return await asyncio.to_thread(Image.inspect, data)
        except UnsupportedImage as error:
            raise InvalidParameter(
                "references", "A reference is no picture that can be read."
            ) from error


def _moment(ms: int) -> datetime:
    return datetime.fromtimestamp(ms / 1000, UTC)


def _moment_or_none(ms: int | None) -> datetime | None:
    return None if ms is None else _moment(ms)
