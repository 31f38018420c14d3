"""The bodies of permalinks and ids: a stored picture, or a rendition of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import hdrs
from multidict import CIMultiDict

from app import urls
from app.api.originals import ORIGINALS
from app.api.picture_answers import needed_bytes, not_modified, send_body
from app.api.picture_bodies import RenditionBody, RenditionGone
from app.api.rendition_answers import (
    ROUNDS,
    rendition_for,
    rendition_head,
    shape_of,
    varying_by_accept,
)
from app.api.services import SERVICES
from app.errors import NotFound, StillGenerating
from app.http.conditional import NOT_MODIFIED, decide
from app.http.picture_headers import EMBEDDING, RANGES, Part, identity, merged
from app.image import MEDIA_TYPES
from app.prompt_cache.painting.pictures import SMALL_BYTES
from app.renditions import OriginalGone
from app.server.bodies import send_bytes, send_stream
from app.server.request_context import ERROR_HEADERS

if TYPE_CHECKING:
    from aiohttp import web

    from app.api.rendition_parameters import AskedRendition
    from app.http.conditional import Decision
    from app.storage.storage_key import StorageKey

_STORED = Part.of({"Cache-Status": "paintonce; hit"})


async def send_rendition(
    request: web.Request, key: StorageKey, asked: AskedRendition, caching: Part
) -> web.StreamResponse:
    """Send what is *asked* of the picture under *key*; raises `NotFound`."""
    services = request.app[SERVICES]
    if asked.is_negotiated:
        caching = varying_by_accept(caching)
    original = await request.app[ORIGINALS].find(key)
    if original is None:
        raise NotFound("There is no such picture.")
    renditions = services.renditions.renditions
    for _ in range(ROUNDS):
        rendition = rendition_for(request, asked, shape_of(original))
        try:
            stored = await renditions.open(
                original, rendition, wait_seconds=services.wait_timeout_seconds
            )
        except OriginalGone:
            raise NotFound("There is no such picture.") from None
        if stored is None:
            return await send_original(request, key, caching)
        location = f"{urls.permalink(key)}?{asked.query_of(rendition)}"
        head = rendition_head(stored, location)
        body = RenditionBody(services.prompts.pictures, stored, head)
        try:
            return await _send(request, body, caching)
        except RenditionGone:
            renditions.forget(original.image_id, rendition)
    raise StillGenerating("The rendition is removed faster than it can be read.")


async def _send(
    request: web.Request, body: RenditionBody, caching: Part
) -> web.StreamResponse:
    head = body.head
    headers = {
        "Content-Type": head.of_body.fields["Content-Type"],
        **merged(head.own, caching, _STORED, RANGES, EMBEDDING),
    }
    decision = decide(
        request.method,
        request.headers,
        etag=head.etag,
        last_modified=head.last_modified,
        size=body.size,
    )
    _raise_refusal(request, headers, decision, body.size)
    data = await needed_bytes(request, body, decision)
    return await send_body(
        request, CIMultiDict(headers), body, decision=decision, data=data
    )


def _raise_refusal(
    request: web.Request, headers: dict[str, str], decision: Decision, size: int
) -> None:
    """Raise what is refused (412, 416), with the headers of the answer."""
    refusal = decision.refusal(size)
    if refusal is not None:
        del headers["Content-Type"]
        request[ERROR_HEADERS] = headers
        raise refusal


async def send_original(
    request: web.Request, key: StorageKey, caching: Part
) -> web.StreamResponse:
    """Send the picture under *key* as it is stored; raises `NotFound`."""
    pictures = request.app[SERVICES].prompts.pictures
    async with pictures.open_stored(key) as stored:
        if stored is None:
            raise NotFound("There is no such picture.")
        own = identity(
            digest=stored.digest,
            created_at=stored.created_at,
            image_id=key.image_id or "",
        )
        media_type = MEDIA_TYPES[key.filename.rpartition(".")[2]]
        headers = {
            "Content-Type": media_type,
            **merged(own, caching, RANGES, EMBEDDING),
        }
        decision = decide(
            request.method,
            request.headers,
            etag=own["ETag"],
            last_modified=stored.created_at,
            size=stored.size,
        )
        _raise_refusal(request, headers, decision, stored.size)
        if decision is NOT_MODIFIED:
            return not_modified(CIMultiDict(headers))
        wanted = decision.byte_range
        if wanted is None or request.method == hdrs.METH_HEAD:
            return await send_stream(request, headers, stored.chunks, stored.size)
        headers["Content-Range"] = decision.content_range(stored.size) or ""
        if stored.size <= SMALL_BYTES:
            # A whole picture can be compared with its digest.
            data = b"".join([chunk async for chunk in stored.chunks])
            part = memoryview(data)[wanted.first : wanted.last + 1]
            return await send_bytes(request, headers, part, decision.status)
    async with pictures.open_stored(key, wanted) as opened:
        if opened is None or opened.digest != stored.digest:
            raise NotFound("There is no such picture.")
        return await send_stream(
            request, headers, opened.chunks, wanted.length, decision.status
        )
