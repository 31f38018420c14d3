"""Painted pictures of the front: asked of the prompt cache, ready to be sent."""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from app import urls
from app.api.openai.base64_text import encoded
from app.api.picture_heads import picture_head
from app.api.rendition_answers import (
    live_rendition_head,
    rendition_bytes,
    shape_of,
    stored_rendition,
)
from app.errors import InvalidParameter, StillGenerating
from app.prompt_cache.cache import ROUNDS, LookupOutcome
from app.prompt_cache.painting.pictures import PictureGone
from app.renditions import OriginalGone

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from app.api.openai.edit_copies import EditCopies
    from app.api.openai.fields import Output
    from app.api.picture_heads import PictureHead
    from app.api.rendition_parameters import AskedRendition
    from app.api.services import Services
    from app.generation.spending import Permit
    from app.prompt_cache.cache import Answer
    from app.prompt_cache.entry.prompt_key import PromptKey


class Picture(NamedTuple):
    """A painted picture as it is returned.

    *data* are its bytes where they are in memory; they are read otherwise.
    *path* is its permalink, *head* what its answers always say.
    """

    answer: Answer
    media_type: str
    size: int
    path: str
    data: bytes | None
    head: PictureHead

    @property
    def is_hit(self) -> bool:
        """Return whether it was painted for an earlier request."""
        return self.answer.outcome is not LookupOutcome.MISS

    @property
    def base64_size(self) -> int:
        """Return how many characters its base64 has."""
        return (self.size + 2) // 3 * 4

    async def base64(self, services: Services) -> AsyncGenerator[bytes]:
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
    """A request to the prompt cache, the same for each of its pictures."""

    permit: Permit
    wait_seconds: float
    output: Output
    copies: EditCopies | None = None


async def painted(services: Services, key: PromptKey, wish: Wish) -> Picture:
    """Return the picture of *key*, painting it if missing; raises its failure."""
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
    raise StillGenerating("The picture is removed faster than it can be read.")


async def _ready(services: Services, answer: Answer, output: Output) -> Picture:
    """Return the picture of *answer* as *output* wants it; raises `PictureGone`."""
    if output.asked is not None:
        picture = await _rendition(services, answer, output, output.asked)
        if picture is not None:
            return picture
    cache, entry = services.prompts.cache, answer.entry
    data = None if output.as_url else await cache.read(answer)
    if data is None:
        await cache.require(answer)
    head, path = picture_head(entry), urls.permalink(entry.storage_key)
    return Picture(answer, entry.media_type, entry.size, path, data, head)


async def _rendition(
    services: Services, answer: Answer, output: Output, asked: AskedRendition
) -> Picture | None:
    """Return a rendition of the picture, None where that is the picture itself."""
    entry, wait_seconds = answer.entry, services.wait_timeout_seconds
    rendition = asked.of(shape_of(entry), ())
    data: bytes | None = None
    try:
        if output.as_url:
            stored = await stored_rendition(services, entry, rendition, wait_seconds)
        else:
            found = await rendition_bytes(services, entry, rendition, wait_seconds)
            data, stored = found or (None, None)
    except OriginalGone:
        await services.prompts.cache.require(answer)
        raise PictureGone from None
    except InvalidParameter as error:
        raise InvalidParameter("output_format", error.detail) from error
    if stored is None:
        return None
    query = asked.query_of(rendition)
    head = live_rendition_head(entry, stored, query)
    path = f"{urls.permalink(entry.storage_key)}?{query}"
    return Picture(answer, stored.media_type, stored.size, path, data, head)
