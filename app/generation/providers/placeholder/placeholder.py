"""Placeholder: the provider that needs no key, no network and no money.

It paints for the quick start, for demonstrations and for load tests, the
same bytes for the same request on any replica, and can be configured to
fail in each way in which a provider fails.
"""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
import logging
import math
import random
from typing import TYPE_CHECKING

from app.errors import PromptRejected, ProviderFailed, ProviderRateLimited
from app.generation.capabilities import Capabilities
from app.generation.provider import Origin, ProviderPicture
from app.generation.providers.placeholder.caption import write_caption, write_mark
from app.generation.providers.placeholder.known_models import PAINTER
from app.generation.providers.placeholder.landscape import paint_landscape
from app.generation.providers.placeholder.options import PlaceholderOptions
from app.generation.transport.failures import WITHOUT_A_HINT

if TYPE_CHECKING:
    from collections.abc import Mapping

    from app.generation.provider import Job, PaintRequest

_PIXELS = 1024 * 1024

# The quality keeps a picture of a megapixel at 50 to 150 KB and encodes it in
# a fraction of the time of painting it.
_ENCODERS: dict[str, tuple[str, dict[str, int]]] = {
    "png": ("PNG", {"compress_level": 3}),
    "jpeg": ("JPEG", {"quality": 88}),
    "webp": ("WEBP", {"quality": 85, "method": 1}),
}
_MAGIC_NUMBERS = {
    "png": b"\x89PNG\r\n\x1a\n",
    "jpeg": b"\xff\xd8\xff\xe0",
    "webp": b"RIFF\x1a\x00\x00\x00WEBPVP8 ",
}

_logger = logging.getLogger(__name__)


class Placeholder:
    """An `ImageProvider` that paints hills under a sun and the prompt over them.

    *options* are those of `PlaceholderOptions`.
    """

    vendor = "placeholder"
    capabilities = Capabilities("", PAINTER)
    takes_addresses = False

    def __init__(self, options: Mapping[str, object] | None = None) -> None:
        self._options = PlaceholderOptions.model_validate(options or {})
        _logger.warning("placeholder in use", extra={"failure": self._options.failure})

    async def paint(self, request: PaintRequest, job: Job) -> ProviderPicture:  # noqa: ARG002 - it paints at once
        """Return a picture that is a function of *request*, or fail as configured."""
        await asyncio.sleep(self._options.delay_seconds)
        match self._options.failure:
            case "rejected":
                raise PromptRejected("The placeholder is set to refuse prompts.")
            case "failed":
                raise ProviderFailed("The placeholder is set to fail.")
            case "rate_limited":
                raise ProviderRateLimited(
                    "The placeholder is set to be busy.",
                    retry_after=WITHOUT_A_HINT,
                )
            case "timeout":
                await asyncio.get_running_loop().create_future()
            case "broken_image":
                return _painted(_MAGIC_NUMBERS[self._options.format] + bytes(64))
        data = await asyncio.to_thread(_paint, request, self._options.format)
        _logger.info(
            "placeholder painted",
            extra={"format": self._options.format, "bytes": len(data)},
        )
        return _painted(data)

    async def cancel(self, job_id: str) -> bool:  # noqa: ARG002 - it has no jobs
        """Do nothing: there are no jobs."""
        return False

    async def probe(self) -> bool:
        """Return True: it is always there."""
        return True


def _painted(data: bytes) -> ProviderPicture:
    return ProviderPicture(
        data, Origin("placeholder", "landscape", is_placeholder=True)
    )


def _paint(request: PaintRequest, image_format: str) -> bytes:
    width, height = _size(request)
    # No secret hangs on it: the same numbers for the same request are wanted.
    dice = random.Random(_digest(request))  # noqa: S311 - reproducible on purpose
    picture = paint_landscape(width, height, dice)
    write_caption(picture, request.prompt)
    write_mark(picture, "placeholder")
    encoder, parameters = _ENCODERS[image_format]
    encoded = io.BytesIO()
    picture.save(encoded, encoder, **parameters)
    return encoded.getvalue()


def _digest(request: PaintRequest) -> bytes:
    """Return a digest of all that *request* asks for."""
    fields = [
        *(request.prompt, request.aspect_ratio, request.width, request.height),
        *(request.seed, request.variant),
        *(reference.digest for reference in request.references),
    ]
    return hashlib.sha256(json.dumps(fields).encode()).digest()


def _size(request: PaintRequest) -> tuple[int, int]:
    """Return the size asked for, or a megapixel in the ratio asked for."""
    if request.width and request.height:
        return request.width, request.height
    across, down = map(int, (request.aspect_ratio or "1:1").split(":"))
    unit = round(math.sqrt(_PIXELS / (across * down)))
    return across * unit, down * unit
