"""Renditions: where one is known, stored, or else made."""

from __future__ import annotations

from typing import TYPE_CHECKING

from app.renditions.shelf import OriginalGone
from app.single_flight import SingleFlight

if TYPE_CHECKING:
    from app.renditions.rendition import Original, Plan, Rendition, StoredRendition
    from app.renditions.shelf import Shelf
    from app.renditions.workshop import Workshop

__all__ = ["OriginalGone", "Renditions"]

# Some 500 bytes each.
MAX_KNOWN = 32_768


class Renditions:
    """The renditions of all pictures, as this replica finds or makes them."""

    def __init__(self, shelf: Shelf, workshop: Workshop) -> None:
        self._shelf = shelf
        self._workshop = workshop
        self._known: dict[tuple[str, Plan], StoredRendition] = {}
        self._searches: SingleFlight[tuple[str, Plan], StoredRendition | None] = (
            SingleFlight()
        )

    async def open(
        self, original: Original, rendition: Rendition, *, wait_seconds: float
    ) -> StoredRendition | None:
        """Return the *rendition* of *original*; None where that is the picture itself.

        It is made where it is not stored, and waited for up to *wait_seconds*.
        Raises `InvalidParameter` for a rendition that this picture can't have,
        and what `Workshop.make` does. Its bytes are read like a picture's.
        """
        plan = rendition.plan(original)
        if plan is None:
            return None
        key = (original.image_id, plan)
        found = self._known.get(key)
        if found is not None:
            return found
        found = await self._searches.share(
            key, lambda: self._shelf.find(original, plan)
        )
        if found is None:
            found = await self._workshop.make(original, plan, wait_seconds=wait_seconds)
        if len(self._known) >= MAX_KNOWN:
            self._known.clear()
        self._known[key] = found
        return found

    def forget(self, original: Original, rendition: Rendition) -> None:
        """Forget where a rendition is that turned out to be gone."""
        plan = rendition.plan(original)
        if plan is not None:
            self._known.pop((original.image_id, plan), None)
