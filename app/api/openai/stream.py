"""Streams of the front: comments while pictures are painted, then an event for each."""

from __future__ import annotations

import asyncio
from contextlib import aclosing, asynccontextmanager
from typing import TYPE_CHECKING, Any

import orjson
from aiohttp import web

from app.api.openai.answers import form_of, repeated_options, usage_of
from app.background import ended
from app.errors import StillGenerating
from app.http import server_sent_events
from app.http.openai_errors import refusal_of
from app.http.problems import as_service_error
from app.prompt_cache.painting.pictures import PictureGone
from app.server.bodies import cut_short

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from app.api.openai.fields import Asked
    from app.api.openai.pictures import Picture
    from app.api.services import Services

# Proxies cut connections that say nothing for some seconds.
COMMENT_SECONDS = 2.0


async def stream_pictures(
    request: web.Request,
    services: Services,
    asked: Asked,
    paintings: Sequence[asyncio.Task[Picture]],
    kind: str,
) -> web.StreamResponse:
    """Answer with an event of *kind* for each of *paintings*, in their order.

    A failure before the first comment is raised, and later is an event. The
    paintings end with the stream; what they painted stays.
    """
    async with _ending(paintings):
        await asyncio.wait(
            paintings, timeout=COMMENT_SECONDS, return_when=asyncio.FIRST_EXCEPTION
        )
        for painting in paintings:
            if painting.done():
                painting.result()
        response = web.StreamResponse(headers=server_sent_events.HEADERS)
        await response.prepare(request)
        if not all(painting.done() for painting in paintings):
            await response.write(server_sent_events.COMMENT)
        failure: Exception | None = None
        for painting in paintings:
            try:
                await _until_painted(response, painting)
                picture = painting.result()
                event = _event(kind, _document(asked, picture, kind))
                await _send(request, response, services, picture, event)
            except ConnectionError:
                raise
            except Exception as error:  # noqa: BLE001 - whatever it is, it is answered
                failure = failure or error
        if failure is not None:
            document = refusal_of(as_service_error(failure)).document
            await response.write(_event("error", document))
        await response.write_eof()
        return response


@asynccontextmanager
async def _ending(paintings: Sequence[asyncio.Task[Picture]]) -> AsyncIterator[None]:
    try:
        yield
    finally:
        await asyncio.gather(*map(ended, paintings))
        for painting in paintings:
            if not painting.cancelled():
                # Retrieved: one failure is the answer, and says enough.
                painting.exception()


async def _until_painted(
    response: web.StreamResponse, painting: asyncio.Task[Picture]
) -> None:
    while not painting.done():
        await asyncio.wait([painting], timeout=COMMENT_SECONDS)
        if not painting.done():
            await response.write(server_sent_events.COMMENT)


async def _send(
    request: web.Request,
    response: web.StreamResponse,
    services: Services,
    picture: Picture,
    event: bytes,
) -> None:
    """Write *event* with the base64 of *picture* in its first empty text.

    A failure to open the picture is raised before anything is written. Nothing
    can follow half an event, so one that breaks off cuts the connection.
    """
    before, after = event.split(b'""', 1)
    async with aclosing(picture.base64(services)) as parts:
        try:
            first = await anext(parts, b"")
        except PictureGone as error:
            raise StillGenerating("The picture was removed meanwhile.") from error
        await response.write(before + b'"' + first)
        try:
            async for part in parts:
                await response.write(part)
        except ConnectionError:
            raise
        except Exception as error:
            raise cut_short(request, error) from error
    await response.write(b'"' + after)


def _document(asked: Asked, picture: Picture, kind: str) -> dict[str, Any]:
    return {
        "type": kind,
        # In front of the other texts, so that the first empty text is where it goes.
        "b64_json": "",
        "created_at": picture.answer.entry.created_ms // 1000,
        "quality": "auto",
        "background": "auto",
        **form_of(picture),
        **repeated_options(asked),
        "usage": usage_of([picture]),
    }


def _event(name: str, document: dict[str, Any]) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (name.encode(), orjson.dumps(document))
