"""Assembly of transient images: one way for service, commands and tests."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from app.environment import DEFAULT_THRESHOLD_BYTES
from app.storage.ports.transient_store import Quota
from app.transient_images.addresses import Addresses
from app.transient_images.byte_budget import ByteBudget
from app.transient_images.copies import Copies
from app.transient_images.lending import Lending
from app.transient_images.painted import PaintedPictures
from app.transient_images.reference_pictures import ReferencePictures
from app.transient_images.references import References
from app.transient_images.store import MAX_PICTURES, TransientImages
from app.transient_images.sweeper import sweeping

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from app.storage.ports.object_store import ObjectStore
    from app.storage.ports.transient_store import TransientStore

# Reference pictures that a replica holds for paintings, above which they wait.
REFERENCES_BYTES = 128 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The operator's settings; None is no bound, and no default."""

    base_url: str
    max_image_bytes: int
    quota_bytes: int
    total_bytes: int | None = None
    default_ttl: timedelta | None = None
    threshold_bytes: int = DEFAULT_THRESHOLD_BYTES
    lease_for: timedelta = timedelta(seconds=20)
    references_bytes: int = REFERENCES_BYTES


@dataclass(frozen=True, slots=True, kw_only=True)
class TransientParts:
    """The parts that others call; `running` is for as long as they do."""

    images: TransientImages
    reference_pictures: ReferencePictures
    references: References
    copies: Copies
    store: TransientStore

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Give memory back as long as the context is open; see `sweeper`."""
        async with sweeping(self.store):
            yield


def assemble(
    store: TransientStore,
    limits: Limits,
    objects: ObjectStore | None = None,
    *,
    on_degraded: Callable[[str], None] = lambda _: None,
) -> TransientParts:
    """Put the transient images of one replica together.

    *objects* has the painted pictures, which references may name as well.
    """
    addresses = Addresses.under(limits.base_url)
    quota = Quota(limits.quota_bytes, limits.total_bytes, MAX_PICTURES)
    budget = ByteBudget(limits.references_bytes)
    painted = None if objects is None else PaintedPictures(objects)
    pictures = ReferencePictures(store, budget=budget, painted=painted)
    return TransientParts(
        images=TransientImages(
            store,
            addresses=addresses,
            max_image_bytes=limits.max_image_bytes,
            quota=quota,
            default_ttl=limits.default_ttl,
        ),
        reference_pictures=pictures,
        references=References(
            pictures,
            Lending(
                store,
                addresses=addresses,
                threshold_bytes=limits.threshold_bytes,
                # All copies count like the pictures of one more project.
                quota=quota,
                outlives=2 * limits.lease_for,
                on_degraded=on_degraded,
            ),
            budget=budget,
        ),
        copies=Copies(store, quota=quota),
        store=store,
    )
