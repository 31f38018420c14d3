"""Reference pictures: what a painting goes by, read, lent, and taken back.

A provider that fetches them is lent copies, outside of the caller's quota and
list: whatever becomes of the originals, it finds what the painting began with.
A copy goes when the provider's job is over. Where its replica dies or hands
the job on, the copy's own time ends it, a little later than the job's.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from typing import TYPE_CHECKING
from uuid import uuid4

from app.errors import (
    BadImage,
    CacheUnavailable,
    InvalidParameter,
    ReferencesGone,
    UnsupportedImage,
)
from app.generation.provider import Reference
from app.generation.sizing import as_png
from app.image import Image
from app.storage.ports.transient_store import StoredImage
from app.storage.storage_key import is_image_id
from app.transient_images.copies import account_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from contextlib import AbstractAsyncContextManager

    from app.generation.painting import ReferenceLoader
    from app.storage.ports.transient_store import Quota, TransientStore
    from app.storage.storage_key import Project
    from app.transient_images.addresses import Addresses
    from app.transient_images.byte_budget import ByteBudget
    from app.transient_images.painted import Painted, PaintedPictures

logger = logging.getLogger(__name__)

# No project has a name like it, so that no caller lists or deletes these.
LENT = "_lent"

# For a picture that is asked for the first time: it is read to be known again.
_DIGEST_WITHIN_SECONDS = 10.0


class References:
    """The reference pictures of all paintings of a replica.

    Those of more than *threshold_bytes* are lent where that is of use, within
    *quota*; a copy expires *outlives* after its call, should it not be taken
    back. What is read counts in *budget* until its painting is over. An id may
    be that of a *painted* picture of the project as well.
    """

    def __init__(
        self,
        store: TransientStore,
        *,
        addresses: Addresses,
        threshold_bytes: int,
        quota: Quota,
        outlives: timedelta,
        budget: ByteBudget,
        painted: PaintedPictures | None = None,
    ) -> None:
        self._store = store
        self._addresses = addresses
        self._threshold_bytes = threshold_bytes
        self._quota = quota
        self._outlives = outlives
        self._budget = budget
        self._painted = painted
        # Its thread ends with it. Pictures of 50 megapixels take 200 MB each.
        self._converting = ThreadPoolExecutor(1, "converting")

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

    @asynccontextmanager
    async def for_painting(
        self, project: Project, image_ids: Sequence[str]
    ) -> AsyncIterator[ReferenceLoader | None]:
        """Yield what reads the pictures for each model that asks; None for none.

        In the end lent copies are taken back, but not on a cancellation: then
        the provider's job goes on, and the next leader waits for it.
        """
        if not image_ids:
            yield None
            return
        async with AsyncExitStack() as memory:
            reading = _Reading(self, project, image_ids, memory)
            try:
                yield reading.load
            except asyncio.CancelledError:
                raise
            except BaseException:
                await self.take_back(reading.lent)
                raise
            await self.take_back(reading.lent)

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

    async def convert(self, image: Image) -> Image:
        """Return *image* as PNG, pixel by pixel; one at a time, in a thread.

        Raises `InvalidParameter` where it can't be decoded.
        """
        try:
            return await asyncio.get_running_loop().run_in_executor(
                self._converting, as_png, image
            )
        except BadImage as error:
            raise InvalidParameter(
                "references", "A reference is no picture that can be read."
            ) from error

    def holding(self, size: int) -> AbstractAsyncContextManager[None]:
        """Count *size* bytes of a painting that is under way, without a wait.

        To wait for others while holding a part would keep everyone waiting.
        """
        return self._budget.adding(size)

    async def lend(self, image: Image, *, within_seconds: float) -> StoredImage | None:
        """Lend a copy of *image* for a call; None where it is better sent along."""
        if not self._addresses.are_reachable or (
            len(image.data) <= self._threshold_bytes
        ):
            return None
        try:
            stored = await self._store.put(
                str(uuid4()),
                image.data,
                project=LENT,
                media_type=image.media_type,
                ttl=timedelta(seconds=within_seconds) + self._outlives,
                quota=self._quota,
            )
        except CacheUnavailable:
            return None
        return stored if isinstance(stored, StoredImage) else None

    def address_of(self, lent: StoredImage) -> str:
        """Return where the provider fetches what it is lent."""
        return self._addresses.of(lent.image_id, lent.media_type)

    async def take_back(self, lent: Sequence[StoredImage]) -> None:
        """Delete copies; where that can't be, their own time ends them."""
        if not lent:
            return
        try:
            await self._store.forget(LENT, [image.image_id for image in lent])
        except CacheUnavailable:
            logger.warning("lent copies are left to their time")

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

    async def _find_painted(self, project: Project, image_id: str) -> Painted:
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


class _Reading:
    """The references of one painting: read once, lent to each model that fetches."""

    def __init__(
        self,
        references: References,
        project: Project,
        image_ids: Sequence[str],
        memory: AsyncExitStack,
    ) -> None:
        self.lent: list[StoredImage] = []
        self._references = references
        self._project = project
        self._image_ids = image_ids
        self._memory = memory
        self._images: dict[str, Image] | None = None
        self._converted: dict[str, Image] = {}

    async def load(
        self, *, by_address: bool, within_seconds: float, media_types: frozenset[str]
    ) -> tuple[Reference, ...]:
        """Return them in order; see `ReferenceLoader`."""
        if self._images is None:
            self._images = await self._references.read(
                self._project, self._image_ids, self._memory
            )
        loaded = {}
        for image_id, image in self._images.items():
            fitting = await self._in_a_type(image, media_types)
            loaded[image_id] = Reference.of(
                fitting,
                url=await self._lend(fitting, within_seconds) if by_address else None,
            )
        return tuple([loaded[image_id] for image_id in self._image_ids])

    async def _in_a_type(self, image: Image, media_types: frozenset[str]) -> Image:
        """Return *image*, as PNG where it is of none of *media_types*."""
        if image.media_type in media_types:
            return image
        if image.digest not in self._converted:
            converted = await self._references.convert(image)
            size = len(converted.data)
            await self._memory.enter_async_context(self._references.holding(size))
            self._converted[image.digest] = converted
        return self._converted[image.digest]

    async def _lend(self, image: Image, within_seconds: float) -> str | None:
        lent = await self._references.lend(image, within_seconds=within_seconds)
        if lent is None:
            return None
        self.lent.append(lent)
        return self._references.address_of(lent)


def _require(is_there: bool) -> None:  # noqa: FBT001 - a condition that reads as one
    if not is_there:
        raise ReferencesGone("A reference picture is gone.")


def _sha256(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()
