"""Renditions: where one is known, stored, or else made."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from app.renditions.shelf import OriginalGone
from app.single_flight import SingleFlight

if TYPE_CHECKING:
    from app.renditions.rendition import (
        Original,
        Rendition,
        RenditionPlan,
        StoredRendition,
    )
    from app.renditions.shelf import Shelf
    from app.renditions.workshop import Workshop

__all__ = ["OriginalGone", "Renditions"]

# Some 500 bytes each.
MAX_KNOWN = 32_768


class Known(NamedTuple):
    """A rendition that was found; *stored* is None for the picture itself."""

    stored: StoredRendition | None


class Renditions:
    """The renditions of all pictures, as this replica finds or makes them."""

    def __init__(self, shelf: Shelf, workshop: Workshop) -> None:
        self._shelf = shelf
        self._workshop = workshop
        self._known: dict[tuple[str, Rendition], Known] = {}
        self._searches: SingleFlight[
            tuple[str, RenditionPlan], StoredRendition | None
        ] = SingleFlight()

    def known(self, image_id: str, rendition: Rendition) -> Known | None:
        """Return the earlier result of `open`, if any; awaits nothing, for HITs."""
        return self._known.get((image_id, rendition))

    async def open(
        self, original: Original, rendition: Rendition, *, wait_seconds: float
    ) -> StoredRendition | None:
        """Return the *rendition* of *original*; None where that is the picture itself.

        It is made where it is not stored, and waited for up to *wait_seconds*.
        Raises `InvalidParameter` for a rendition that this picture can't have,
        and what `Workshop.make` does. Its bytes are read like a picture's.
        """
        known = self.known(original.image_id, rendition)
        if known is not None:
            return known.stored
        plan = rendition.plan(original)
        found = None
        if plan is not None:
            found = await self._found(original, plan, wait_seconds)
        if len(self._known) >= MAX_KNOWN:
            self._known.clear()
        self._known[original.image_id, rendition] = Known(found)
        return found

    def forget(self, image_id: str, rendition: Rendition) -> None:
        """Forget a rendition that turned out to be gone from the store."""
        self._known.pop((image_id, rendition), None)

    async def _found(
        self, original: Original, plan: RenditionPlan, wait_seconds: float
    ) -> StoredRendition:
        found = await self._searches.share(
            (original.image_id, plan), lambda: self._shelf.find(original, plan)
        )
        return found or await self._workshop.make(
            original, plan, wait_seconds=wait_seconds
        )
