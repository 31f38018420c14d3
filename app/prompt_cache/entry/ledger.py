"""The ledger: pictures and manifests in the object store.

The image first, then the manifest by a conditional create, so that a manifest
always points at a picture that was there; the first manifest wins.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from app.errors import LaterVersion, NotFound, StorageUnavailable
from app.prompt_cache.entry.entry import LaterManifest, PromptEntry, UnreadableManifest
from app.prompt_cache.entry.prompt_key import is_prompt_hash
from app.prompt_cache.purge_note import PurgeNote
from app.storage.storage_key import (
    FENCE_PREFIX,
    GENERATED,
    PROMPTS,
    SYSTEM,
    Project,
    StorageKey,
    manifest_key,
    manifest_prefix,
    purge_key,
    purges_prefix,
    renditions_prefix,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from contextlib import AbstractAsyncContextManager

    from app.image import Image
    from app.storage.ports.object_store import (
        ByteRange,
        Listed,
        ObjectBody,
        ObjectStore,
    )

logger = logging.getLogger(__name__)

JSON = "application/json"
COMMIT_ATTEMPTS = 3


@dataclass(frozen=True, slots=True)
class Manifest:
    """An entry as the ledger has it, and the tag that replacing it compares."""

    entry: PromptEntry | None
    etag: str


class Ledger:
    """The pictures and manifests that were paid for. Raises `StorageUnavailable`."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store

    def on_a_line(self, at_once: int) -> Ledger:
        """Return the same ledger, with *at_once* calls that wait for no others."""
        return Ledger(self._store.on_a_line(at_once))

    async def read(self, project: Project, prompt_hash: str) -> Manifest | None:
        """Return the manifest of a prompt, or None if there is none.

        Raises `LaterVersion` for one that a later release wrote: it is neither
        gone nor to be replaced.
        One that can't be read has no entry: it counts as a picture that is
        gone, and is replaced by its tag.
        """
        stored = await self._store.get(manifest_key(project, prompt_hash))
        if stored is None:
            return None
        reason = "it is about another prompt"
        try:
            entry = PromptEntry.from_manifest(stored.data)
            if (entry.project, entry.prompt_hash) == (project, prompt_hash):
                return Manifest(entry, stored.etag)
        except LaterManifest as error:
            logger.exception("manifest of a later version")
            raise LaterVersion("A later release wrote this manifest.") from error
        except UnreadableManifest as error:
            reason = str(error)
        logger.warning(
            "manifest is unreadable",
            extra={"prompt_hash": prompt_hash, "reason": reason},
        )
        return Manifest(None, stored.etag)

    async def keep_image(self, entry: PromptEntry, image: Image) -> None:
        """Store the picture of *entry*, before anything points at it."""
        await self._store.put(
            str(entry.storage_key),
            image.data,
            media_type=image.media_type,
            metadata={
                "sha256": image.digest,
                "prompt-hash": entry.prompt_hash,
                "created-at": entry.created_at.isoformat(),
            },
        )

    async def commit(
        self,
        entry: PromptEntry,
        replacing: Manifest | None,
        *,
        only_replaces: bool = False,
    ) -> PromptEntry:
        """Write the manifest of *entry* if it is the first; return who won.

        With *only_replaces* a manifest that is gone was purged, and stays so:
        raises `NotFound`.

        *replacing* is the manifest that a refresh, or a painting for a lost
        picture, read before it began. The winner is *entry*, also where our
        own write got through and only its reply was lost, or else the entry
        of another generation, to be adopted.
        """
        key = manifest_key(entry.project, entry.prompt_hash)
        data = entry.to_manifest()
        for _ in range(COMMIT_ATTEMPTS):
            if replacing is None:
                written = await self._store.create(key, data, media_type=JSON)
            else:
                written = await self._store.replace(
                    key, data, etag=replacing.etag, media_type=JSON
                )
            if written is not None:
                return entry
            replacing = await self.read(entry.project, entry.prompt_hash)
            if replacing is None and only_replaces:
                raise NotFound("The entry was purged.")
            if replacing is not None and replacing.entry is not None:
                return replacing.entry
        raise StorageUnavailable("The ledger does not settle.")

    async def forget_manifest(self, project: Project, prompt_hash: str) -> None:
        """Remove the manifest of a prompt."""
        await self._store.delete(manifest_key(project, prompt_hash))

    async def forget_image(self, key: StorageKey) -> None:
        """Remove a picture, and then its renditions.

        In this order: a replica that stores a rendition meanwhile removes it
        again, since its picture is not there.
        """
        await self._store.delete(str(key))
        if key.image_id is not None:
            await self.forget_renditions(key.project, key.image_id)

    async def forget_renditions(self, project: Project, image_id: str) -> None:
        """Remove the renditions of a picture."""
        async for listed in self._store.list(renditions_prefix(project, image_id)):
            await self._store.delete(listed.key)

    async def forget_rendition(self, key: str) -> None:
        """Remove one rendition."""
        await self._store.delete(key)

    async def renditions(self, project: Project) -> AsyncIterator[Listed]:
        """Yield the objects among the renditions of *project*, in order."""
        async for listed in self._store.list(renditions_prefix(project)):
            yield listed

    async def note_purge(
        self, project: Project, prompt_hash: str, note: PurgeNote
    ) -> None:
        """Write down what has to go of a prompt."""
        key = purge_key(project, prompt_hash)
        await self._store.put(key, note.to_bytes(), media_type=JSON)

    async def noted_purge(self, project: Project, prompt_hash: str) -> PurgeNote | None:
        """Return the purge note of a prompt, or None."""
        found = await self._store.get(purge_key(project, prompt_hash))
        return None if found is None else PurgeNote.from_bytes(project, found.data)

    async def note_replaced(self, replaced: PromptEntry) -> None:
        """Write down that the picture of *replaced* goes once no manifest names it."""
        project, prompt_hash = replaced.project, replaced.prompt_hash
        note = await self.noted_purge(project, prompt_hash) or PurgeNote()
        key = str(replaced.storage_key)
        if key not in note.pictures:
            more = PurgeNote(
                note.purged, note.replaced | {key: replaced.size}, note.is_damaged
            )
            await self.note_purge(project, prompt_hash, more)

    async def forget_replaced(self, replaced: PromptEntry) -> None:
        """Remove the picture of *replaced*, and what is written down of it."""
        await self.forget_image(replaced.storage_key)
        project, prompt_hash = replaced.project, replaced.prompt_hash
        note = await self.noted_purge(project, prompt_hash)
        if note is not None and note.pictures.keys() <= {str(replaced.storage_key)}:
            await self.forget_purge(project, prompt_hash)

    async def noted_purges(
        self, project: Project | None = None
    ) -> AsyncIterator[tuple[Project, str]]:
        """Yield the prompts of which something is written down."""
        prefix = purges_prefix(project)
        async for listed in self._store.list(prefix):
            org, name, filename, *_ = [
                *listed.key.removeprefix(purges_prefix()).split("/"),
                "",
                "",
            ]
            prompt_hash = filename.removesuffix(".json")
            if is_prompt_hash(prompt_hash):
                yield Project(org, name), prompt_hash

    async def forget_purge(self, project: Project, prompt_hash: str) -> None:
        """Remove what `note_purge` wrote: nothing is left."""
        await self._store.delete(purge_key(project, prompt_hash))

    async def has_image(self, key: StorageKey) -> bool:
        """Return whether the picture under *key* is there."""
        return await self._store.exists(str(key))

    async def find_image(self, project: Project, image_id: str) -> StorageKey | None:
        """Return where the picture *image_id* of *project* lies, if it is there."""
        async for listed in self._store.list(f"{project}/{GENERATED}/{image_id}."):
            return StorageKey.parse(listed.key)
        return None

    async def manifests(
        self, project: Project, *, after: str = ""
    ) -> AsyncIterator[str]:
        """Yield the prompt hashes of *project* in order, after *after*.

        What else lies among its manifests is passed over.
        """
        prefix = manifest_prefix(project)
        start = manifest_key(project, after) if after else ""
        async for listed in self._store.list(prefix, after=start):
            prompt_hash = listed.key.removeprefix(prefix).removesuffix(".json")
            if is_prompt_hash(prompt_hash):
                yield prompt_hash

    async def images(self, project: Project) -> AsyncIterator[Listed]:
        """Yield the objects among the pictures of *project*, in order."""
        async for listed in self._store.list(f"{project}/{GENERATED}/"):
            yield listed

    async def proofs(self) -> AsyncIterator[Listed]:
        """Yield the objects that proofs of the store have not removed."""
        async for listed in self._store.list(FENCE_PREFIX):
            yield listed

    async def forget_proof(self, key: str) -> None:
        """Remove what a proof of the store has left."""
        await self._store.delete(key)

    async def projects(self, category: str = PROMPTS) -> AsyncIterator[Project]:
        """Yield every project that has a manifest, or else of *category*, in order.

        Jumps from project to project, past the keys of each.
        """
        after = ""
        while found := await self._first(after):
            org, name, found_category, *_ = [*found.split("/"), "", ""]
            if org == SYSTEM:
                after = f"{SYSTEM}0"
                continue
            # `0` is the character after the slash: past all that lies below.
            after = f"{org}/{name}/{found_category}0"
            if found_category == category:
                yield Project(org, name)
                after = f"{org}/{name}0"

    async def _first(self, after: str) -> str | None:
        async for listed in self._store.list("", after=after):
            return listed.key
        return None

    async def read_image(self, key: StorageKey) -> bytes | None:
        """Return the bytes of a small picture; None if it is gone."""
        stored = await self._store.get(str(key))
        return None if stored is None else stored.data

    def open_image(
        self, key: StorageKey, byte_range: ByteRange | None = None
    ) -> AbstractAsyncContextManager[ObjectBody | None]:
        """Open a picture for streaming; None if it is gone."""
        return self._store.open(str(key), byte_range)
