"""TransientImages: keep a picture under an address until it is taken back."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from uuid import uuid4

from app.background import in_steps
from app.errors import QuotaFull, UnsupportedImage
from app.image import sniff
from app.storage.ports.transient_store import QuotaReached
from app.storage.storage_key import is_image_id
from app.transient_images.images import (
    ListedImage,
    OpenImage,
    TransientImage,
    TransientListing,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from app.storage.ports.transient_store import Quota, StoredImage, TransientStore
    from app.storage.storage_key import Project
    from app.transient_images.addresses import Addresses

# Bounds the list, which is read in one step, and what the accounts weigh: the
# byte quota alone would let millions of tiny pictures in.
MAX_PICTURES = 20_000

_REFUSALS = {
    QuotaReached.IN_PROJECT: (
        "The project's quota of transient images has no room for it."
    ),
    QuotaReached.IN_ALL: "The service's quota of transient images has no room for it.",
    QuotaReached.IN_COUNT: f"The project has {MAX_PICTURES} transient images already.",
    QuotaReached.IN_CACHE: "The cache has no memory left for it.",
}


class TransientImages:
    """Pictures with an address, each until it is taken back or its time is up.

    Without a *default_ttl* a picture stays until it is taken back. Every method
    raises `CacheUnavailable` when the cache is unavailable.
    """

    def __init__(
        self,
        store: TransientStore,
        *,
        addresses: Addresses,
        max_image_bytes: int,
        quota: Quota,
        default_ttl: timedelta | None = None,
    ) -> None:
        self.max_image_bytes = max_image_bytes
        self._store = store
        self._addresses = addresses
        self._quota = quota
        self._default_ttl = default_ttl

    async def keep(
        self, project: Project, data: bytes, *, ttl: timedelta | None = None
    ) -> TransientImage:
        """Keep *data* and return its address.

        Raises `UnsupportedImage`, or `QuotaFull`: nothing that lives is ever
        evicted. Without *ttl* the default applies.
        """
        media_type = sniff(data)
        if media_type is None:
            raise UnsupportedImage("The bytes are no PNG, JPEG, WebP, GIF or AVIF.")
        stored = await self._store.put(
            str(uuid4()),
            data,
            project=str(project),
            media_type=media_type,
            ttl=self._default_ttl if ttl is None else ttl,
            quota=self._quota,
        )
        if isinstance(stored, QuotaReached):
            raise QuotaFull(_REFUSALS[stored])
        return TransientImage(
            id=stored.image_id,
            url=self._addresses.of(stored.image_id, media_type),
            content_type=media_type,
            size=stored.size,
            created_at=_moment(stored.created_ms),
            expires_at=_moment_or_none(stored.expires_ms),
            reachable=self._addresses.are_reachable,
        )

    async def open(self, image_id: str) -> OpenImage | None:
        """Return the picture under *image_id*, of any project, or None."""
        if not is_image_id(image_id):
            return None
        found = await self._store.describe(image_id)
        media_type = sniff(found.head) if found else None
        if found is None or media_type is None:
            return None
        return OpenImage(media_type, found.size, image_id, self._store)

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
        return await self._store.forget(str(project), known, media_type=content_type)

    async def list(self, project: Project) -> TransientListing:
        """Return the pictures of *project*, the oldest first."""
        inventory = await self._store.inventory(str(project))

        def listed(found: StoredImage) -> ListedImage:
            return ListedImage(
                id=found.image_id,
                size=found.size,
                content_type=found.media_type,
                created_at=_moment(found.created_ms),
                age=timedelta(milliseconds=inventory.now_ms - found.created_ms),
                expires_at=_moment_or_none(found.expires_ms),
            )

        oldest_first = sorted(inventory.images, key=lambda image: image.created_ms)
        images = await in_steps(listed, oldest_first)
        return TransientListing(
            tuple(images), inventory.used_bytes, self._quota.in_project
        )


def _moment(ms: int) -> datetime:
    return datetime.fromtimestamp(ms / 1000, UTC)


def _moment_or_none(ms: int | None) -> datetime | None:
    return None if ms is None else _moment(ms)
