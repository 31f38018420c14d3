"""Lending: copies of reference pictures, under addresses that a provider fetches.

Copies are outside of the caller's quota and list: whatever becomes of the
originals, the provider finds what the painting began with. A copy goes when the
provider's job is over. Where its replica dies or hands the job on, the copy
expires, a little later than the job.
"""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import TYPE_CHECKING
from uuid import uuid4

from app.errors import CacheUnavailable
from app.storage.ports.transient_store import StoredImage

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from app.image import Image
    from app.storage.ports.transient_store import Quota, TransientStore
    from app.transient_images.addresses import Addresses

logger = logging.getLogger(__name__)

# No project has a name like it, so that no caller lists or deletes these.
LENT = "_lent"


class Lending:
    """Lends pictures of more than *threshold_bytes*, within *quota*.

    Smaller ones are better sent along. A copy that is not taken back expires
    *outlives* after the end of its call. *on_degraded* is called where Redis takes
    no copy, so that a picture has to be sent along.
    """

    def __init__(
        self,
        store: TransientStore,
        *,
        addresses: Addresses,
        threshold_bytes: int,
        quota: Quota,
        outlives: timedelta,
        on_degraded: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._store = store
        self._addresses = addresses
        self._threshold_bytes = threshold_bytes
        self._quota = quota
        self._outlives = outlives
        self._on_degraded = on_degraded

    async def lend(self, image: Image, *, within_seconds: float) -> StoredImage | None:
        """Lend a copy of *image* for a call; None where it is better sent along."""
        if not self._addresses.are_reachable or (
            len(image.data) <= self._threshold_bytes
        ):
            return None
        try:
            stored = await self._store.put(
                str(uuid4()),
                image.data,
                project=LENT,
                media_type=image.media_type,
                ttl=timedelta(seconds=within_seconds) + self._outlives,
                quota=self._quota,
            )
        except CacheUnavailable:
            self._on_degraded("lent_references")
            return None
        return stored if isinstance(stored, StoredImage) else None

    def address_of(self, lent: StoredImage) -> str:
        """Return the address under which the provider fetches a copy."""
        return self._addresses.of(lent.image_id, lent.media_type)

    async def take_back(self, lent: Sequence[StoredImage]) -> None:
        """Delete copies; without Redis they expire."""
        if not lent:
            return
        try:
            await self._store.forget(LENT, [image.image_id for image in lent])
        except CacheUnavailable:
            logger.warning("lent copies left to expire")
