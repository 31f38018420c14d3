"""Stored pictures, by permalink and by id."""

from __future__ import annotations

from typing import TYPE_CHECKING

from app.api.admitted_request import project_and_query, text_of_query
from app.api.rendition_parameters import RENDITION_PARAMETERS, asked_in_query
from app.api.services import SERVICES
from app.api.stored_answers import send_original, send_rendition
from app.errors import InvalidParameter, InvalidStorageKey, NotFound
from app.http.picture_headers import KEPT_BY_ITS_OWNER, KEPT_FOR_EVER
from app.http.query import decode, has_parameter, parse_query
from app.storage.storage_key import StorageKey, is_image_id

if TYPE_CHECKING:
    from aiohttp import web

    from app.api.rendition_parameters import AskedRendition


async def permalink(request: web.Request) -> web.StreamResponse:
    """Answer with the picture under a storage key; no API key is needed."""
    key = _storage_key(request)
    if key.image_id is None:
        raise NotFound("There is no such picture.")
    asked = _asked(request)
    if asked is not None:
        return await send_rendition(request, key, asked, KEPT_FOR_EVER)
    return await send_original(request, key, KEPT_FOR_EVER)


async def by_id(request: web.Request) -> web.StreamResponse:
    """Answer with one of the project's own pictures by its id."""
    project, given = project_and_query(request, RENDITION_PARAMETERS)
    widths = request.app[SERVICES].renditions.widths
    asked = asked_in_query(given, widths)
    image_id = request.match_info["image_id"]
    key = None
    if is_image_id(image_id):
        key = await request.app[SERVICES].prompts.ledger.find_image(project, image_id)
    if key is None:
        raise NotFound("There is no such picture.")
    if asked is not None:
        return await send_rendition(request, key, asked, KEPT_BY_ITS_OWNER)
    return await send_original(request, key, KEPT_BY_ITS_OWNER)


def _asked(request: web.Request) -> AskedRendition | None:
    """Return the rendition that a permalink asks for; other parameters are ignored."""
    text = text_of_query(request)
    if not any(has_parameter(text, name) for name in RENDITION_PARAMETERS):
        return None
    return asked_in_query(parse_query(text), request.app[SERVICES].renditions.widths)


def _storage_key(request: web.Request) -> StorageKey:
    path = request.raw_path.partition("?")[0]
    segments = path.split("/images/", 1)[-1].split("/")
    try:
        # Decoded segment by segment, so that an escaped slash separates nothing.
        decoded = [decode(part, parameter="storage_key") for part in segments]
    except InvalidParameter as error:
        raise InvalidStorageKey(error.detail) from error
    if len(decoded) == 1:
        # The path of an id, which is malformed.
        raise NotFound("There is no such picture.")
    if any("/" in part for part in decoded):
        raise InvalidStorageKey("A segment of a storage key has no slash.")
    return StorageKey.parse("/".join(decoded))
