"""Orphans: pictures in the object store that no manifest names.

They remain after crashes between a picture and its manifest, and where a
picture's fate could not be read. They cost space, and no request can reach them.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Self

from app.errors import InvalidStorageKey, LaterVersion
from app.storage.storage_key import StorageKey, rendered_image_id

if TYPE_CHECKING:
    from collections.abc import Callable

    from app.prompt_cache.entry.ledger import Ledger
    from app.storage.storage_key import Project

# A picture is stored minutes before its manifest at the most.
OLD_AFTER = timedelta(days=1)
# The longest that a proof of the store takes, and some more.
PROOF_SECONDS = 45.0


@dataclass(slots=True)
class OrphanCount:
    """The number of pictures that were *removed*, and their *bytes*.

    *unreadable* are manifests that might name any picture: where there is one,
    nothing of its project is removed.
    """

    removed: int = 0
    bytes: int = 0
    unreadable: int = 0

    def __iadd__(self, other: OrphanCount) -> Self:
        self.removed += other.removed
        self.bytes += other.bytes
        self.unreadable += other.unreadable
        return self


@dataclass(frozen=True, slots=True, kw_only=True)
class Orphans:
    """Removes what no manifest names and is older than *old_after*."""

    ledger: Ledger
    old_after: timedelta = OLD_AFTER
    proof_seconds: float = PROOF_SECONDS

    async def remove(
        self,
        project: Project,
        *,
        per_second: float,
        on_progress: Callable[[], object] = lambda: None,
    ) -> OrphanCount:
        """Remove the orphans of *project*; *on_progress* after each manifest."""
        count = OrphanCount()
        named = await self._named(project, per_second, on_progress, count)
        if count.unreadable:
            return count
        old = datetime.now(UTC) - self.old_after
        async for listed in self.ledger.images(project):
            key = _picture(listed.key)
            if key is None or listed.modified_at > old or listed.key in named:
                continue
            await self.ledger.forget_image(key)
            count.removed += 1
            count.bytes += listed.size
        await self._remove_renditions(project, count)
        return count

    async def remove_proofs(self) -> int:
        """Remove what killed replicas left of proofs of the store; count it.

        A proof that is under way removes its own key before the wait is over.
        """
        left = [listed async for listed in self.ledger.proofs()]
        old = datetime.now(UTC) - self.old_after
        if any(listed.modified_at > old for listed in left):
            await asyncio.sleep(self.proof_seconds)
        for listed in left:
            await self.ledger.forget_proof(listed.key)
        return len(left)

    async def _remove_renditions(self, project: Project, count: OrphanCount) -> None:
        """Remove renditions without a picture; those of any age, since it is gone."""
        looked_for, is_there = "", False
        async for listed in self.ledger.renditions(project):
            image_id = rendered_image_id(listed.key)
            if image_id is None:
                continue
            if image_id != looked_for:
                found = await self.ledger.find_image(project, image_id)
                looked_for, is_there = image_id, found is not None
            if not is_there:
                await self.ledger.forget_rendition(listed.key)
                count.removed += 1
                count.bytes += listed.size

    async def _named(
        self,
        project: Project,
        per_second: float,
        on_progress: Callable[[], object],
        count: OrphanCount,
    ) -> set[str]:
        named: set[str] = set()
        async for prompt_hash in self.ledger.manifests(project):
            try:
                manifest = await self.ledger.read(project, prompt_hash)
            except LaterVersion:
                count.unreadable += 1
                continue
            if manifest is not None and manifest.entry is not None:
                named.add(str(manifest.entry.storage_key))
            # A manifest that is gone now named a picture that was purged.
            count.unreadable += manifest is not None and manifest.entry is None
            on_progress()
            await asyncio.sleep(1 / per_second)
        return named


def _picture(key: str) -> StorageKey | None:
    """Return the key of a generated picture; None for whatever else lies there."""
    with suppress(InvalidStorageKey):
        parsed = StorageKey.parse(key)
        return parsed if parsed.image_id is not None else None
    return None
