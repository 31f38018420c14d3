"""Transient images: lend a picture an address, and take it back."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from aiohttp import hdrs, web

from app import urls
from app.api.admitted_request import project_and_query, project_of
from app.api.services import SERVICES
from app.api.uploads import check_upload, read_upload
from app.errors import InvalidParameter, NotFound
from app.http.body_budget import BODY_BUDGET
from app.http.conditional import UNSATISFIABLE, parse_range
from app.http.http_errors import RangeNotSatisfiable
from app.http.json_answers import json_answer
from app.http.json_bodies import read_json_object
from app.http.picture_headers import EMBEDDING, NOT_CACHED, RANGES, merged
from app.http.query import whole_number
from app.http.unknown_names import unknown
from app.image import EXTENSIONS, MEDIA_TYPES
from app.server.bodies import send_stream

if TYPE_CHECKING:
    from app.storage.ports.object_store import ByteRange

LONGEST_TTL_SECONDS = 31_536_000
MAX_IDS = 1000


async def upload(request: web.Request) -> web.Response:
    """Keep the picture of the body and answer with its address."""
    services = request.app[SERVICES]
    images = services.transient_images.images
    # The head, then the parameters: neither needs the body.
    form = check_upload(request, images.max_image_bytes)
    project, given = project_and_query(request, {"ttl"})
    seconds = whole_number(given, "ttl", minimum=1, maximum=LONGEST_TTL_SECONDS)
    ttl = None if seconds is None else timedelta(seconds=seconds)
    with request.app[BODY_BUDGET].holding(request.content_length or 0):
        data = await read_upload(request, form, images.max_image_bytes)
        kept = await images.keep(project, data, ttl=ttl)
    name = f"{kept.id}.{EXTENSIONS[kept.content_type]}"
    return json_answer(
        {
            "id": kept.id,
            "url": kept.url,
            "content_type": kept.content_type,
            "size": kept.size,
            "expires_at": kept.expires_at,
            "reachable": kept.reachable,
        },
        status=201,
        headers={"Location": urls.transient(name)},
    )


async def fetch(request: web.Request) -> web.StreamResponse:
    """Answer GET and HEAD with a picture, for everyone who knows its address."""
    image_id, content_type = _named(request)
    found = await request.app[SERVICES].transient_images.images.open(image_id)
    if found is None or content_type not in {None, found.content_type}:
        raise NotFound("There is no such picture.")
    headers = {
        "Content-Type": found.content_type,
        **merged(NOT_CACHED, RANGES, EMBEDDING),
    }
    wanted = _range_of(request, found.size)
    if wanted is None:
        return await send_stream(request, headers, found.chunks(), found.size)
    headers["Content-Range"] = f"bytes {wanted.first}-{wanted.last}/{found.size}"
    return await send_stream(
        request, headers, found.chunks(wanted), wanted.length, status=206
    )


async def forget(request: web.Request) -> web.Response:
    """Delete one picture of the project's own; again is a no-op."""
    project = project_of(request)
    image_id, content_type = _named(request)
    deleted = await request.app[SERVICES].transient_images.images.forget(
        project, [image_id], content_type=content_type
    )
    return json_answer({"deleted": bool(deleted)})


async def forget_many(request: web.Request) -> web.Response:
    """Delete up to 1000 pictures of the project's own."""
    project = project_of(request)
    document = await read_json_object(request)
    ids = document.get("ids")
    for name in document.keys() - {"ids"}:
        raise unknown(name, {"ids"})
    if not isinstance(ids, list):
        raise InvalidParameter("ids", "ids must be a list.")
    if len(ids) > MAX_IDS:
        raise InvalidParameter("ids", f"ids may have at most {MAX_IDS} entries.")
    if not all(isinstance(image_id, str) for image_id in ids):
        raise InvalidParameter("ids", "Every id must be a text.")
    deleted = await request.app[SERVICES].transient_images.images.forget(project, ids)
    return json_answer({"deleted": deleted})


async def list_images(request: web.Request) -> web.Response:
    """Answer with what the project keeps and how much of its quota that is."""
    project = project_of(request)
    listing = await request.app[SERVICES].transient_images.images.list(project)
    return json_answer(
        {
            "images": [
                {
                    "id": image.id,
                    "size": image.size,
                    "content_type": image.content_type,
                    "created_at": image.created_at,
                    "age_seconds": image.age.total_seconds(),
                    "expires_at": image.expires_at,
                }
                for image in listing.images
            ],
            "quota_used_bytes": listing.quota_used_bytes,
            "quota_bytes": listing.quota_bytes,
        }
    )


def _named(request: web.Request) -> tuple[str, str | None]:
    """Return the id of the path, and the type that its extension means, if any."""
    image_id, dot, extension = request.match_info["id"].partition(".")
    if not dot:
        return image_id, None
    # An id with an unknown extension names nothing.
    known = MEDIA_TYPES.get(extension)
    return ("", None) if known is None else (image_id, known)


def _range_of(request: web.Request, size: int) -> ByteRange | None:
    # There are no validators, so no If-Range can match (RFC 9110, 13.1.5).
    if request.method != hdrs.METH_GET or hdrs.IF_RANGE in request.headers:
        return None
    wanted = parse_range(request.headers.getall(hdrs.RANGE, []), size)
    if wanted is UNSATISFIABLE:
        raise RangeNotSatisfiable(size)
    return wanted
