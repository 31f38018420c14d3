"""Painted pictures of the front: asked of the prompt cache, ready to be sent."""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from app import urls
from app.api.openai.base64_text import encoded
from app.errors import StillGenerating
from app.prompt_cache.cache import ROUNDS, Outcome
from app.prompt_cache.painting.pictures import PictureGone

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from app.api.openai.edit_copies import EditCopies
    from app.api.openai.fields import Output
    from app.api.services import Services
    from app.generation.spending import Permit
    from app.prompt_cache.cache import Answer
    from app.prompt_cache.entry.prompt_key import PromptKey


class Picture(NamedTuple):
    """A painted picture as it is returned.

    *data* are its bytes where they are in memory; they are read otherwise.
    *path* is its permalink.
    """

    answer: Answer
    media_type: str
    size: int
    path: str
    data: bytes | None

    @property
    def is_hit(self) -> bool:
        """Whether somebody had it painted before."""
        return self.answer.outcome is not Outcome.MISS

    @property
    def base64_size(self) -> int:
        """How many characters its base64 has."""
        return (self.size + 2) // 3 * 4

    async def base64(self, services: Services) -> AsyncIterator[bytes]:
        """Yield its base64."""
        if self.data is not None:
            for piece in encoded(self.data):
                yield piece
            return
        async with services.prompts.cache.open(self.answer) as chunks:
            rest = b""
            async for chunk in chunks:
                whole = rest + chunk
                rest = whole[len(whole) // 3 * 3 :]
                for piece in encoded(whole[: len(whole) - len(rest)]):
                    yield piece
            for piece in encoded(rest):
                yield piece


class Wish(NamedTuple):
    """What a request asks of the prompt cache, the same for each of its pictures."""

    permit: Permit
    wait_seconds: float
    output: Output
    copies: EditCopies | None = None


async def painted(services: Services, key: PromptKey, wish: Wish) -> Picture:
    """Return the picture of *key*, painting it if nobody has; raises its failure."""
    copies = wish.copies
    readable = None if copies is None else partial(copies.readable, key)
    for _ in range(ROUNDS):
        answer = await services.prompts.cache.get_or_generate(
            key,
            permit=wish.permit,
            wait_seconds=wish.wait_seconds,
            readable=readable,
        )
        with suppress(PictureGone):
            return await _ready(services, answer, wish.output)
    raise StillGenerating("The picture goes away faster than it can be read.")


async def _ready(services: Services, answer: Answer, output: Output) -> Picture:
    cache, entry = services.prompts.cache, answer.entry
    if output.as_url:
        await cache.require(answer)
        data = None
    else:
        data = await cache.read(answer)
        if data is None:
            await cache.require(answer)
    path = urls.permalink(entry.storage_key)
    return Picture(answer, entry.media_type, entry.size, path, data)
