"""Finishing: from what a provider sent to what is stored."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, NamedTuple

from app.errors import BadImage, UnsupportedImage
from app.generation.provenance import Mark, Provenance, attest
from app.generation.sizing import fit
from app.image import Image

if TYPE_CHECKING:
    from app.generation.provider import PaintRequest, ProviderPicture

# Fifty megapixels take 400 to 800 MB while they are resized, and a core for
# seconds. At their usual size pictures take a tenth of a second.
RESIZED_AT_ONCE = 1


class Finished(NamedTuple):
    """A picture that has passed every check, and what is known of its origin."""

    image: Image
    provenance: Provenance


class Finishing:
    """Checks, resizes and marks the pictures of all models of this replica.

    *max_image_bytes* bounds what a provider sends; a mark comes on top.
    *marks* says whether pictures are marked as generated.
    """

    def __init__(self, *, max_image_bytes: int, marks: bool) -> None:
        self._max_image_bytes = max_image_bytes
        self._marks = marks
        # Its threads end with it. A queue of its own: to wait for it in the
        # common threads would keep everything else waiting.
        self._sizing = ThreadPoolExecutor(RESIZED_AT_ONCE, "sizing")

    async def finish(self, painted: ProviderPicture, request: PaintRequest) -> Finished:
        """Vouch for *painted*, off the event loop, in the size asked for.

        Raises `BadImage` for what is no picture or too large.
        """
        threads = self._sizing if request.width and request.height else None
        return await asyncio.get_running_loop().run_in_executor(
            threads, self._finish, painted, request
        )

    def _finish(self, painted: ProviderPicture, request: PaintRequest) -> Finished:
        if len(painted.data) > self._max_image_bytes:
            raise BadImage(
                f"The provider's picture has more than {self._max_image_bytes} bytes."
            )
        try:
            came = Image.inspect(painted.data)
        except UnsupportedImage as error:
            raise BadImage(f"The image provider failed: {error.detail}") from error
        image = came
        if request.width and request.height:
            image = fit(came, request.width, request.height)
        mark = Mark.of(painted.origin) if self._marks else None
        return Finished(*attest(image, mark, painted=came))
