"""Finishing: from what a provider sent to what is stored."""

from __future__ import annotations

import asyncio
import math
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, NamedTuple

from app.errors import BadImage, UnsupportedImage
from app.generation.provenance import Mark, Provenance, attest, without_prompts
from app.generation.shapes import reduced
from app.generation.sizing import fit
from app.image import Image

if TYPE_CHECKING:
    from app.generation.provider import Origin, PaintRequest, ProviderPicture

# Fifty megapixels take 400 to 800 MB while they are resized, and a core for
# seconds. At their usual size pictures take a tenth of a second.
RESIZED_AT_ONCE = 1

# How far a model's own idea of a ratio may be from the ratio, as a logarithm:
# Gemini's 4:5 has 896x1152 pixels (0.03). Ratios that can be asked for are further
# apart (0.065 and more).
_TOLERANCE = 0.05


class Finished(NamedTuple):
    """A picture that has passed every check, and what is known of its origin."""

    image: Image
    provenance: Provenance


class Finishing:
    """Checks, resizes and marks the pictures of all models of this replica.

    *max_image_bytes* bounds what a provider sends; a mark comes on top.
    *marks* says whether pictures are marked as generated, *keeps_metadata*
    whether their texts stay that hold prompts.
    """

    def __init__(
        self, *, max_image_bytes: int, marks: bool, keeps_metadata: bool = False
    ) -> None:
        self._max_image_bytes = max_image_bytes
        self._marks = marks
        self._keeps_metadata = keeps_metadata
        # Its threads end with it. A queue of its own: to wait for it in the
        # common threads would keep everything else waiting.
        self._sizing = ThreadPoolExecutor(RESIZED_AT_ONCE, "sizing")

    async def finish(
        self,
        painted: ProviderPicture,
        request: PaintRequest,
        *,
        is_shaped: bool = True,
    ) -> Finished:
        """Vouch for *painted*, off the event loop, in the shape asked for.

        *is_shaped*: the model was asked for the ratio that the request names;
        its picture stays as it is unless it is of quite another ratio. Raises
        `BadImage` for what is no picture or too large.
        """
        came = await asyncio.to_thread(self._inspect, painted.data)
        size = _size_of(came, request, is_shaped=is_shaped)
        return await asyncio.get_running_loop().run_in_executor(
            self._sizing if size else None, self._finish, came, size, painted.origin
        )

    def _inspect(self, data: bytes) -> Image:
        if len(data) > self._max_image_bytes:
            raise BadImage(
                f"The provider's picture has more than {self._max_image_bytes} bytes."
            )
        try:
            return Image.inspect(data)
        except UnsupportedImage as error:
            raise BadImage(f"The image provider failed: {error.detail}") from error

    def _finish(
        self, came: Image, size: tuple[int, int] | None, origin: Origin
    ) -> Finished:
        if size is None and not self._keeps_metadata:
            came = without_prompts(came)
        image = fit(came, *size) if size else came
        if size and not self._keeps_metadata:
            image = without_prompts(image)
        mark = Mark.of(origin) if self._marks else None
        return Finished(*attest(image, mark, painted=came))


def _size_of(
    came: Image, request: PaintRequest, *, is_shaped: bool
) -> tuple[int, int] | None:
    """Return the size to cut *came* to; None leaves its pixels as they are."""
    if request.width and request.height:
        return request.width, request.height
    if request.aspect_ratio is None:
        return None
    across, down = reduced(request.aspect_ratio)
    off = abs(math.log(came.width * down / (came.height * across)))
    if off == 0 or (is_shaped and off <= _TOLERANCE):
        return None
    times = min(came.width // across, came.height // down)
    # A picture of a few pixels has no part of exactly that ratio.
    return (across * times, down * times) if times else None
