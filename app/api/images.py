"""Stored pictures, by permalink and by id."""

from __future__ import annotations

from aiohttp import hdrs, web
from multidict import CIMultiDict

from app.api.admission import project_of
from app.api.picture_answers import not_modified
from app.api.services import SERVICES
from app.errors import InvalidParameter, InvalidStorageKey, NotFound
from app.http.conditional import decide
from app.http.picture_headers import (
    EMBEDDING,
    KEPT_BY_ITS_OWNER,
    KEPT_FOR_EVER,
    RANGES,
    Part,
    identity,
    merged,
)
from app.http.query import decode
from app.image import MEDIA_TYPES
from app.prompt_cache.painting.pictures import SMALL_BYTES
from app.server.bodies import send_bytes, send_stream
from app.server.frame import ERROR_HEADERS
from app.storage.storage_key import StorageKey, is_image_id


async def permalink(request: web.Request) -> web.StreamResponse:
    """Answer with the picture under a storage key; no API key is needed."""
    key = _storage_key(request)
    if key.image_id is None:
        raise NotFound("There is no such picture.")
    return await _send(request, key, KEPT_FOR_EVER)


async def by_id(request: web.Request) -> web.StreamResponse:
    """Answer with one of the project's own pictures by its id."""
    project = project_of(request)
    image_id = request.match_info["image_id"]
    key = None
    if is_image_id(image_id):
        key = await request.app[SERVICES].prompts.ledger.find_image(project, image_id)
    if key is None:
        raise NotFound("There is no such picture.")
    return await _send(request, key, KEPT_BY_ITS_OWNER)


def _storage_key(request: web.Request) -> StorageKey:
    path = request.raw_path.partition("?")[0]
    segments = path.split("/images/", 1)[-1].split("/")
    try:
        # Segment by segment: an escaped slash divides nothing.
        decoded = [decode(part, parameter="storage_key") for part in segments]
    except InvalidParameter as error:
        raise InvalidStorageKey(error.detail) from error
    if len(decoded) == 1:
        # No key, but an id, and a malformed one.
        raise NotFound("There is no such picture.")
    if any("/" in part for part in decoded):
        raise InvalidStorageKey("A segment of a storage key has no slash.")
    return StorageKey.parse("/".join(decoded))


async def _send(
    request: web.Request, key: StorageKey, caching: Part
) -> web.StreamResponse:
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
        if decision.status == 304:  # noqa: PLR2004 - an HTTP status
            return not_modified(CIMultiDict(headers))
        refusal = decision.refusal(stored.size)
        if refusal is not None:
            del headers["Content-Type"]
            request[ERROR_HEADERS] = headers
            raise refusal
        wanted = decision.byte_range
        if wanted is None or request.method == hdrs.METH_HEAD:
            return await send_stream(request, headers, stored.chunks, stored.size)
        headers["Content-Range"] = decision.content_range(stored.size) or ""
        if stored.size <= SMALL_BYTES:
            # Whole, it can be checked.
            data = b"".join([chunk async for chunk in stored.chunks])
            part = memoryview(data)[wanted.first : wanted.last + 1]
            return await send_bytes(request, headers, part, decision.status)
    async with pictures.open_stored(key, wanted) as opened:
        if opened is None or opened.digest != stored.digest:
            raise NotFound("There is no such picture.")
        return await send_stream(
            request, headers, opened.chunks, wanted.length, decision.status
        )
