"""The bodies of live answers: a prompt's picture, or a rendition of it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from app.api.admitted_request import CALLER
from app.api.caching import caching_of
from app.api.picture_answers import live_headers, ready_answer, send_picture
from app.api.picture_bodies import PaintedBody, RenditionGone
from app.api.picture_heads import picture_head
from app.api.rendition_answers import (
    RENDITION_BODIES,
    ROUNDS,
    rendition_for,
    shape_of,
    stored_rendition,
    varying_by_accept,
)
from app.errors import StillGenerating
from app.http.conditional import decide
from app.prompt_cache.cache import LookupOutcome
from app.prompt_cache.painting.pictures import PictureGone
from app.renditions import OriginalGone
from app.server.request_context import ERROR_HEADERS

if TYPE_CHECKING:
    from aiohttp import web

    from app.api.picture_bodies import PictureBody
    from app.api.rendition_parameters import AskedRendition
    from app.api.services import Services
    from app.http.picture_headers import Part
    from app.prompt_cache.cache import Answer
    from app.renditions import Rendition, StoredRendition


async def send_answer(
    request: web.Request,
    services: Services,
    answer: Answer,
    asked: AskedRendition | None,
    deadline: float,
) -> web.StreamResponse:
    """Send the picture of *answer*, or the rendition of it that is *asked* for.

    A rendition is waited for until *deadline*, a time of `time.monotonic`.
    Raises `PictureGone`: the caller starts again.
    """
    caching = caching_of(request[CALLER], services.keyed_caching)
    if asked is None:
        painted = _painted(services, answer)
        return await _send_body(request, services, answer, painted, caching)
    if asked.is_negotiated:
        caching = varying_by_accept(caching)
    renditions, entry = services.renditions.renditions, answer.entry
    for _ in range(ROUNDS):
        rendition = rendition_for(request, asked, shape_of(entry))
        known = renditions.known(entry.image_id, rendition)
        if known is not None:
            stored = known.stored
        else:
            stored = await _stored(services, answer, rendition, deadline)
        body: PictureBody
        if stored is None:
            body = _painted(services, answer)
        else:
            bodies = request.app[RENDITION_BODIES]
            body = bodies.of(entry, stored, asked, rendition)
        try:
            return await _send_body(request, services, answer, body, caching)
        except RenditionGone:
            renditions.forget(entry.image_id, rendition)
    raise StillGenerating("The rendition is removed faster than it can be read.")


async def _stored(
    services: Services, answer: Answer, rendition: Rendition, deadline: float
) -> StoredRendition | None:
    """Return a rendition of an answer's picture, None where that is the picture."""
    left = deadline - time.monotonic()
    try:
        return await stored_rendition(services, answer.entry, rendition, max(0.0, left))
    except OriginalGone:
        await services.prompts.cache.require(answer)
        raise PictureGone from None


async def _send_body(
    request: web.Request,
    services: Services,
    answer: Answer,
    body: PictureBody,
    caching: Part,
) -> web.StreamResponse:
    # Else it was not painted yet when it was asked for.
    was_painted = answer.outcome in (LookupOutcome.HIT, LookupOutcome.RESTORED)
    decision = decide(
        request.method,
        request.headers,
        etag=body.head.etag,
        last_modified=body.head.last_modified,
        size=body.size,
        may_be_unchanged=was_painted,
    )
    data = body.cached_bytes()
    if data is not None:
        ready = ready_answer(
            request,
            services,
            answer,
            body.head,
            decision=decision,
            caching=caching,
            data=data,
        )
        if ready is not None:
            return ready
    refusal = decision.refusal(body.size)
    if refusal is not None:
        headers = live_headers(answer, caching, body.head)
        del headers["Content-Type"]
        request[ERROR_HEADERS] = dict(headers)
        raise refusal
    return await send_picture(
        request, services, answer, body, decision=decision, caching=caching
    )


def _painted(services: Services, answer: Answer) -> PaintedBody:
    return PaintedBody(services.prompts.cache, answer, picture_head(answer.entry))
