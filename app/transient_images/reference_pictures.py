"""Reference pictures: found by id, known by their digests, read for paintings."""

from __future__ import annotations

import asyncio
import hashlib
from typing import TYPE_CHECKING

from app.errors import (
    CacheUnavailable,
    InvalidParameter,
    ReferencesGone,
    UnsupportedImage,
)
from app.image import Image
from app.storage.storage_key import is_image_id
from app.transient_images.copies import account_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import AsyncExitStack

    from app.storage.ports.transient_store import TransientStore
    from app.storage.storage_key import Project
    from app.transient_images.byte_budget import ByteBudget
    from app.transient_images.painted import PaintedPicture, PaintedPictures

# A digest is noted, so that a picture is read for it once.
_DIGEST_WITHIN_SECONDS = 10.0


class ReferencePictures:
    """The transient and the *painted* pictures that requests may refer to.

    What is read counts in *budget*.
    """

    def __init__(
        self,
        store: TransientStore,
        *,
        budget: ByteBudget,
        painted: PaintedPictures | None = None,
    ) -> None:
        self._store = store
        self._budget = budget
        self._painted = painted

    async def digests(
        self, project: Project, image_ids: Sequence[str]
    ) -> tuple[str, ...]:
        """Return the SHA-256 of each picture, in hex and in order.

        Raises `ReferencesGone` where one is missing, malformed or another
        project's, and `CacheUnavailable`.
        """
        known = await self._owned(project, image_ids)
        try:
            async with asyncio.timeout(_DIGEST_WITHIN_SECONDS):
                for image_id, digest in known.items():
                    known[image_id] = digest or await self._digest(project, image_id)
        except TimeoutError:
            raise CacheUnavailable("The references can't be read in time.") from None
        return tuple([known[image_id].hex() for image_id in image_ids])

    async def read(
        self, project: Project, image_ids: Sequence[str], memory: AsyncExitStack
    ) -> dict[str, Image]:
        """Read each distinct picture once, into *memory* that is held.

        Raises `ReferencesGone`, or `InvalidParameter` where one is no readable
        picture.
        """
        distinct = await self._owned(project, image_ids, with_copies=True)
        # All at once: two that held a part each would wait for one another.
        size = sum([await self._size(project, image_id) for image_id in distinct])
        await memory.enter_async_context(self._budget.holding(size))
        return {
            image_id: await self._inspected(project, image_id) for image_id in distinct
        }

    async def _owned(
        self,
        project: Project,
        image_ids: Sequence[str],
        *,
        with_copies: bool = False,
    ) -> dict[str, bytes]:
        """Return the digests of what *project* has, as far as they are known.

        *with_copies*: what came with its requests as well.
        """
        _require(all(map(is_image_id, image_ids)))
        distinct = list(dict.fromkeys(image_ids))
        found = await self._store.digests(str(project), distinct)
        missing = [image_id for image_id in distinct if image_id not in found]
        if missing and with_copies:
            copies = await self._store.digests(account_of(project), missing)
            found = {**found, **copies}
        for image_id in [one for one in distinct if one not in found]:
            painted = await self._find_painted(project, image_id)
            found = {**found, image_id: painted.digest}
        return {image_id: found[image_id] for image_id in distinct}

    async def _find_painted(self, project: Project, image_id: str) -> PaintedPicture:
        found = self._painted and await self._painted.find(project, image_id)
        if not found:
            raise ReferencesGone("A reference picture is gone.")
        return found

    async def _size(self, project: Project, image_id: str) -> int:
        described = await self._store.describe(image_id)
        if described is not None:
            return described.size
        return (await self._find_painted(project, image_id)).size

    async def _digest(self, project: Project, image_id: str) -> bytes:
        async with self._budget.holding(await self._size(project, image_id)):
            data = await self._store.read(image_id, 0, -1)
            _require(bool(data))
            digest = await asyncio.to_thread(_sha256, data)
        await self._store.note_digest(image_id, digest)
        return digest

    async def _inspected(self, project: Project, image_id: str) -> Image:
        data: bytes | None = await self._store.read(image_id, 0, -1)
        if not data and self._painted:
            data = await self._painted.read(project, image_id)
        if not data:
            raise ReferencesGone("A reference picture is gone.")
        try:
            return await asyncio.to_thread(Image.inspect, data)
        except UnsupportedImage as error:
            raise InvalidParameter(
                "references", "A reference is no picture that can be read."
            ) from error


def _require(is_there: bool) -> None:  # noqa: FBT001 - a condition that reads as one
    if not is_there:
        raise ReferencesGone("A reference picture is gone.")


def _sha256(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()
