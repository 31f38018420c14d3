"""SeenEntry: an entry as its owner sees it, with its hits."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from app.prompt_cache.entry.entry import PromptEntry

if TYPE_CHECKING:
    from app.storage.ports.prompt_index import SeenRecord


@dataclass(frozen=True, slots=True)
class SeenEntry:
    """An entry that was looked at, uncounted."""

    entry: PromptEntry
    hits: int
    last_accessed_at: datetime | None

    @classmethod
    def of(cls, prompt_hash: str, record: SeenRecord | None) -> SeenEntry | None:
        """Return the entry that was looked at; None without one that can be read."""
        if record is None:
            return None
        entry = PromptEntry.from_record(prompt_hash, record.record)
        if entry is None:
            return None
        at_ms = record.last_accessed_ms
        return cls(
            entry,
            record.hits,
            datetime.fromtimestamp(at_ms / 1000, UTC) if at_ms is not None else None,
        )

    def as_json(self) -> dict[str, Any]:
        """Return the entry as the contract has it."""
        entry = self.entry
        return {
            "prompt_hash": entry.prompt_hash,
            "prompt": entry.parameters.prompt,
            "model": entry.model,
            "price": entry.price,
            "parameters": entry.parameters.as_json(),
            "hits": self.hits,
            "last_accessed_at": self.last_accessed_at,
            "created_at": entry.created_at,
            "image_id": entry.image_id,
            "storage_key": str(entry.storage_key),
            "content_type": entry.media_type,
            "size": entry.size,
            "width": entry.width,
            "height": entry.height,
            "provenance": entry.provenance.as_json(),
        }
