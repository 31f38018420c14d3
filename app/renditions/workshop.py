"""The workshop: makes one rendition after the other, with a bounded line."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING

from app.background import ended
from app.errors import ProviderFailed, ShuttingDown, StillGenerating
from app.generation.provenance import BY_A_MODEL, BY_A_PROGRAM, Mark
from app.renditions.drawing import Undecodable, draw
from app.renditions.lease import REMEMBER_FAILURE_FOR, RenditionLease
from app.renditions.shelf import OriginalGone
from app.renditions.thread import in_thread

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from app.renditions.rendition import Original, RenditionPlan, StoredRendition
    from app.renditions.shelf import Shelf
    from app.telemetry import Metrics

# Different ones that wait behind the one that is being made.
MAX_WAITING = 32
RETRY_AFTER = timedelta(seconds=2)
# Pictures that could not be decoded; to forget one costs one more try.
_MAX_REMEMBERED = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Workshop:
    """Makes what is not on the shelf.

    *systems* names for each alias what IPTC calls the AI system used; None
    writes no marks. *read_original* returns a picture's bytes, None where it is
    gone.
    """

    shelf: Shelf
    read_original: Callable[[Original], Awaitable[bytes | None]]
    lease_of: Callable[[str], RenditionLease]
    systems: Mapping[str, str] | None
    metrics: Metrics
    _turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    _ongoing: dict[str, asyncio.Task[StoredRendition]] = field(default_factory=dict)
    _undecodable: dict[str, tuple[str, float]] = field(default_factory=dict)

    @property
    def waiting(self) -> int:
        """Return how many renditions wait for their turn."""
        return max(0, len(self._ongoing) - 1)

    async def make(
        self, original: Original, plan: RenditionPlan, *, wait_seconds: float
    ) -> StoredRendition:
        """Return the rendition when it is made; callers of the same one share it.

        Raises `StillGenerating` where the line is full or *wait_seconds* are
        over (the making goes on), `ProviderFailed` for a picture that can't be
        decoded, `OriginalGone`, `StorageUnavailable`, `ShuttingDown`.
        """
        self._raise_remembered(original)
        name = f"{original.image_id}/{plan.filename}"
        making = self._ongoing.get(name)
        if making is None:
            if len(self._ongoing) > MAX_WAITING:
                self.metrics.rendition("refused")
                raise StillGenerating(
                    "Too many renditions are being made.", retry_after=RETRY_AFTER
                )
            making = asyncio.create_task(
                self._make(name, original, plan), name="rendition"
            )
            self._ongoing[name] = making
            making.add_done_callback(lambda done: self._ended(name, done))
        await asyncio.wait([making], timeout=wait_seconds)
        if not making.done():
            raise StillGenerating(
                "The rendition is being made.", retry_after=RETRY_AFTER
            )
        if making.cancelled():
            raise ShuttingDown("This replica is shutting down.")
        return making.result()

    async def drain(self) -> None:
        """Return when everything in the line is made."""
        if self._ongoing:
            await asyncio.wait(self._ongoing.values())

    async def give_up(self) -> None:
        """End what is being made; its waiters get `ShuttingDown`."""
        await asyncio.gather(*map(ended, list(self._ongoing.values())))

    def _ended(self, name: str, done: asyncio.Task[StoredRendition]) -> None:
        del self._ongoing[name]
        # Retrieved, since perhaps no request waits for it any more.
        if not done.cancelled():
            done.exception()

    async def _make(
        self, name: str, original: Original, plan: RenditionPlan
    ) -> StoredRendition:
        lease = self.lease_of(name)
        while True:
            async with self._turn:
                self._raise_remembered(original)
                if await lease.acquire():
                    async with lease.kept():
                        # Another replica may have made it meanwhile.
                        found = await self.shelf.find(original, plan)
                        return found or await self._draw(lease, original, plan)
            # Others have their turn here while another replica makes it.
            await lease.news()

    async def _draw(
        self, lease: RenditionLease, original: Original, plan: RenditionPlan
    ) -> StoredRendition:
        began = time.monotonic()
        data = await self.read_original(original)
        if data is None:
            raise OriginalGone
        try:
            drawn = await in_thread(
                draw, data, original.media_type, plan, self._mark(original)
            )
        except Undecodable as error:
            self.metrics.rendition("failed")
            await lease.remember(error.detail)
            raise self._remember(original, error) from error
        made = await self.shelf.keep(original, plan, drawn)
        self.metrics.rendition("made", time.monotonic() - began)
        return made

    def _mark(self, original: Original) -> Mark | None:
        if self.systems is None:
            return None
        source_type = BY_A_PROGRAM if original.is_placeholder else BY_A_MODEL
        return Mark(source_type, self.systems.get(original.model, original.model))

    def _remember(self, original: Original, error: Undecodable) -> ProviderFailed:
        if len(self._undecodable) >= _MAX_REMEMBERED:
            self._undecodable.clear()
        until = time.monotonic() + REMEMBER_FAILURE_FOR.total_seconds()
        self._undecodable[original.image_id] = error.detail, until
        return ProviderFailed(error.detail, retry_after=REMEMBER_FAILURE_FOR)

    def _raise_remembered(self, original: Original) -> None:
        detail, until = self._undecodable.get(original.image_id, ("", 0.0))
        left = until - time.monotonic()
        if left > 0:
            raise ProviderFailed(detail, retry_after=timedelta(seconds=left))
