"""Assembly of renditions: one way for service and tests."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from app.renditions.lease import RenditionLease
from app.renditions.renditions import Renditions
from app.renditions.shelf import Shelf
from app.renditions.workshop import Workshop

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
    from datetime import timedelta

    from app.renditions.rendition import Original
    from app.renditions.shelf import Memory
    from app.storage.ports.object_store import ObjectStore
    from app.storage.ports.prompt_index import CompletionEvents, PromptIndex
    from app.telemetry import Metrics


@dataclass(frozen=True, slots=True, kw_only=True)
class Ports:
    """The stores of renditions and of their pictures.

    *read_original* returns the bytes of a picture, None where it is gone; *systems*
    names for each alias the provider and its model, for the mark.
    """

    store: ObjectStore
    index: PromptIndex
    completions: CompletionEvents
    memory: Memory
    read_original: Callable[[Original], Awaitable[bytes | None]]
    systems: Mapping[str, str]
    metrics: Metrics


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The operator's settings; *marks* says that pictures are marked as generated."""

    lease_for: timedelta
    widths: tuple[int, ...]
    marks: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class RenditionParts:
    """The parts that others call; *widths* are those that may be asked for."""

    renditions: Renditions
    workshop: Workshop
    widths: tuple[int, ...]

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """End what is being made when the context closes."""
        try:
            yield
        finally:
            await self.workshop.give_up()


def assemble(ports: Ports, limits: Limits) -> RenditionParts:
    """Put the renditions of one replica together."""
    shelf = Shelf(ports.store, ports.memory)
    workshop = Workshop(
        shelf=shelf,
        read_original=ports.read_original,
        lease_of=partial(
            RenditionLease,
            index=ports.index,
            completions=ports.completions,
            lease_for=limits.lease_for,
        ),
        systems=ports.systems if limits.marks else None,
        metrics=ports.metrics,
    )
    ports.metrics.watch_renditions(lambda: workshop.waiting)
    return RenditionParts(
        renditions=Renditions(shelf, workshop),
        workshop=workshop,
        widths=limits.widths,
    )
