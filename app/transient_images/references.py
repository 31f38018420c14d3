"""The references of paintings: read once, converted, lent, and taken back."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING

from app.errors import BadImage, InvalidParameter
from app.generation.provider import Reference
from app.generation.sizing import as_png

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from app.generation.painting import ReferenceLoader
    from app.image import Image
    from app.storage.ports.transient_store import StoredImage
    from app.storage.storage_key import Project
    from app.transient_images.byte_budget import ByteBudget
    from app.transient_images.lending import Lending
    from app.transient_images.reference_pictures import ReferencePictures


class References:
    """The references of all paintings of a replica.

    Their bytes count in *budget* until the painting is over.
    """

    def __init__(
        self, pictures: ReferencePictures, lending: Lending, *, budget: ByteBudget
    ) -> None:
        self.pictures = pictures
        self.lending = lending
        self.budget = budget
        # Its thread ends with it. Pictures of 50 megapixels take 200 MB each.
        self._converting = ThreadPoolExecutor(1, "converting")

    @asynccontextmanager
    async def for_painting(
        self, project: Project, image_ids: Sequence[str]
    ) -> AsyncIterator[ReferenceLoader | None]:
        """Yield the loader of the pictures, for each model that asks; None for none.

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
                await self.lending.take_back(reading.lent)
                raise
            await self.lending.take_back(reading.lent)

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
            self._images = await self._references.pictures.read(
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
            # Without a wait: to wait for others while holding a part would
            # keep everyone waiting.
            await self._memory.enter_async_context(self._references.budget.adding(size))
            self._converted[image.digest] = converted
        return self._converted[image.digest]

    async def _lend(self, image: Image, within_seconds: float) -> str | None:
        lending = self._references.lending
        lent = await lending.lend(image, within_seconds=within_seconds)
        if lent is None:
            return None
        self.lent.append(lent)
        return lending.address_of(lent)
