"""The renditions of several replicas over one store and one Redis, in memory."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any

from app.prompt_cache.painting.hot_tier import HotTier
from app.renditions import (
    Limits,
    Original,
    Ports,
    Rendition,
    RenditionParts,
    StoredRendition,
    assemble,
)
from app.storage.storage_key import Project
from app.telemetry import Metrics
from tests.fakes import (
    InMemoryCompletionEvents,
    InMemoryObjectStore,
    InMemoryPromptIndex,
)
from tests.renditions.pictures import SIZE, encoded, halves

SHOP = Project("acme", "shop")
IMAGE_ID = "0b9f7c1e-6f0a-4c7b-9a51-7d2f3c1b8e44"


@dataclass
class Shop:
    """A store with one picture; `replica` adds another replica."""

    store: InMemoryObjectStore = field(default_factory=InMemoryObjectStore)
    completions: InMemoryCompletionEvents = field(
        default_factory=InMemoryCompletionEvents
    )
    index: InMemoryPromptIndex = field(init=False)
    original: Original = field(init=False)
    replicas: list[Replica] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.index = InMemoryPromptIndex(self.completions)

    async def paint(self, data: bytes | None = None, **known: Any) -> Original:
        """Store the picture to make renditions of."""
        data = encoded(halves(), "PNG") if data is None else data
        said: dict[str, Any] = {
            "project": SHOP,
            "image_id": IMAGE_ID,
            "media_type": "image/png",
            "size": len(data),
            "digest": sha256(data).hexdigest(),
            "width": SIZE[0],
            "height": SIZE[1],
            "created_at": datetime.now(UTC),
            "model": "default",
        }
        self.original = Original(**{**said, **known})
        key = str(self.original.storage_key)
        await self.store.put(key, data, media_type=self.original.media_type)
        return self.original

    def replica(self) -> Replica:
        """Return another replica over the same store."""
        made = Replica(self)
        self.replicas.append(made)
        return made

    @property
    def stored(self) -> list[str]:
        """The names of all renditions in the store."""
        return sorted(
            key.rpartition("/")[2]
            for key in self.store.objects
            if "/renditions/" in key
        )


@dataclass
class Replica:
    """The renditions of one replica."""

    shop: Shop
    metrics: Metrics = field(default_factory=Metrics)
    memory: HotTier = field(default_factory=lambda: HotTier(1_000_000))
    parts: RenditionParts = field(init=False)

    def __post_init__(self) -> None:
        self.parts = assemble(
            Ports(
                store=self.shop.store,
                index=self.shop.index,
                completions=self.shop.completions,
                memory=self.memory,
                read_original=self._read,
                systems={"default": "openai gpt-image-2"},
                metrics=self.metrics,
            ),
            Limits(lease_for=timedelta(seconds=20), widths=(16, 32, 48), marks=True),
        )

    async def _read(self, original: Original) -> bytes | None:
        found = await self.shop.store.get(str(original.storage_key))
        return found.data if found else None

    async def open(
        self, rendition: Rendition, *, wait_seconds: float = 10.0
    ) -> StoredRendition | None:
        """Open a rendition of the shop's picture."""
        return await self.parts.renditions.open(
            self.shop.original, rendition, wait_seconds=wait_seconds
        )

    def counted(self, result: str) -> float:
        """Return the number of renditions with that outcome."""
        found = self.metrics._registry.get_sample_value(
            "paintonce_renditions_total", {"result": result}
        )
        return found or 0.0
