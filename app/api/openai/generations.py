"""Generations and edits in OpenAI's words; the same prompts as live generation."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

from multidict import istr

from app.api.admitted_request import CALLER
from app.api.openai.answers import send_pictures
from app.api.openai.edit_copies import EditCopies
from app.api.openai.front import OPENAI_FRONT
from app.api.openai.pictures import Wish, painted
from app.api.openai.stream import stream_pictures
from app.api.services import SERVICES
from app.http.json_bodies import read_json_body
from app.http.preferences import preference_of
from app.prompt_cache.entry.prompt_key import PromptKey

if TYPE_CHECKING:
    from aiohttp import web

    from app.api.openai.edit_pictures import EditPictures
    from app.api.openai.fields import Asked
    from app.api.openai.pictures import Picture
    from app.api.services import Services

# How a painting ends is a better answer than that its time was up.
OUTCOME_WITHIN_SECONDS = 2.0

GENERATED = "image_generation.completed"
EDITED = "image_edit.completed"

_PREFER = istr("Prefer")


async def generate(request: web.Request) -> web.StreamResponse:
    """Answer with the pictures of a prompt, painting those that are missing."""
    body = await read_json_body(request)
    services = request.app[SERVICES]
    known = request.app[OPENAI_FRONT].bodies.read(body)
    asked, keys = known.asked, known.keys_of(request[CALLER].project)
    wish = _wish(request, services, asked)
    return await _painted(request, asked, keys, wish, GENERATED)


async def answer_edit(
    request: web.Request, services: Services, asked: Asked, pictures: EditPictures
) -> web.StreamResponse:
    """Answer with the pictures that are *asked* for, made from *pictures*."""
    project = request[CALLER].project
    keys = [PromptKey(project, pictures.named(one)) for one in asked.variants()]
    async with AsyncExitStack() as stack:
        wish = _wish(request, services, asked)
        if pictures.sent:
            copies = EditCopies(services, project, pictures, stack)
            wish = wish._replace(copies=copies)
        return await _painted(request, asked, keys, wish, EDITED)


def _wish(request: web.Request, services: Services, asked: Asked) -> Wish:
    permit = services.spending.permits.of(request[CALLER])
    return Wish(permit, _wait_seconds(request), asked.output)


async def _painted(
    request: web.Request, asked: Asked, keys: list[PromptKey], wish: Wish, kind: str
) -> web.StreamResponse:
    services = request.app[SERVICES]
    if asked.is_stream:
        paintings = [
            asyncio.create_task(painted(services, key, wish), name="front-painting")
            for key in keys
        ]
        return await stream_pictures(request, services, asked, paintings, kind)
    pictures = await _all_painted(services, keys, wish)
    if asked.output.as_url and len(pictures) == 1:
        addresses = request.app[OPENAI_FRONT].addresses
        ready = addresses.of_hit(request, services, asked, pictures[0])
        if ready is not None:
            return ready
    return await send_pictures(request, services, asked, pictures)


async def _all_painted(
    services: Services, keys: list[PromptKey], wish: Wish
) -> list[Picture]:
    """Return every picture; the first failure is raised once all have ended."""
    if len(keys) == 1:
        return [await painted(services, keys[0], wish)]
    ends = await asyncio.gather(
        *(painted(services, key, wish) for key in keys), return_exceptions=True
    )
    pictures = []
    for end in ends:
        if isinstance(end, BaseException):
            raise end
        pictures.append(end)
    return pictures


def _wait_seconds(request: web.Request) -> float:
    """Return how long the caller is held: as long as the painting may take."""
    services = request.app[SERVICES]
    longest = services.prompts.painter.generation_timeout.total_seconds()
    if _PREFER not in request.headers:
        return longest + OUTCOME_WITHIN_SECONDS
    lines = request.headers.getall(_PREFER)
    preferred = preference_of(lines, max_seconds=longest, takes_async=False)
    if preferred is not None and preferred.seconds < longest:
        return preferred.seconds
    return longest + OUTCOME_WITHIN_SECONDS
