"""Stored pictures, by permalink and by id."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from aiohttp import hdrs, web
from multidict import CIMultiDict

from app.api.picture_answers import A_YEAR, not_modified
from app.api.projects import project_of
from app.api.services import SERVICES
from app.errors import InvalidParameter, InvalidStorageKey, NotFound
from app.http.conditional import decide, format_date
from app.http.http_errors import RangeNotSatisfiable
from app.http.query import decode
from app.image import MEDIA_TYPES
from app.server.bodies import PICTURE_HEADERS, send_stream
from app.server.frame import ERROR_HEADERS
from app.storage.storage_key import StorageKey, is_image_id

if TYPE_CHECKING:
    from app.storage.ports.object_store import ObjectBody

NOBODY_ELSES = "private, max-age=31536000"


async def permalink(request: web.Request) -> web.StreamResponse:
    """Answer with the picture under a storage key; no API key is needed."""
    key = _storage_key(request)
    if key.image_id is None:
        raise NotFound("There is no such picture.")
    return await _send(request, key, f"{A_YEAR}, immutable")


async def by_id(request: web.Request) -> web.StreamResponse:
    """Answer with one of the project's own pictures by its id."""
    project = project_of(request)
    image_id = request.match_info["image_id"]
    key = None
    if is_image_id(image_id):
        key = await request.app[SERVICES].ledger.find_image(project, image_id)
    if key is None:
        raise NotFound("There is no such picture.")
    return await _send(request, key, NOBODY_ELSES)


def _storage_key(request: web.Request) -> StorageKey:
    path = request.raw_path.partition("?")[0]
    segments = path.split("/images/", 1)[-1].split("/")
    try:
        # Segment by segment: an escaped slash divides nothing.
        decoded = [decode(part, parameter="storage_key") for part in segments]
    except InvalidParameter as error:
        raise InvalidStorageKey(error.detail) from error
    if any("/" in part for part in decoded):
        raise InvalidStorageKey("A segment of a storage key has no slash.")
    return StorageKey.parse("/".join(decoded))


@dataclass(frozen=True, slots=True)
class _Stored:
    """What a stored picture says of itself."""

    size: int
    etag: str
    created_at: datetime

    @classmethod
    def of(cls, body: ObjectBody) -> _Stored:
        said = body.metadata
        created_at = said.get("created-at")
        return cls(
            size=body.size,
            etag=f'"{said.get("sha256", "")}"',
            created_at=(
                datetime.fromisoformat(created_at)
                if created_at
                else datetime.fromtimestamp(0, UTC)
            ),
        )


async def _send(
    request: web.Request, key: StorageKey, cache_control: str
) -> web.StreamResponse:
    ledger = request.app[SERVICES].ledger
    async with ledger.open_image(key) as body:
        if body is None:
            raise NotFound("There is no such picture.")
        stored = _Stored.of(body)
        headers = {
            "Content-Type": MEDIA_TYPES[key.filename.rpartition(".")[2]],
            "Cache-Control": cache_control,
            "ETag": stored.etag,
            "Last-Modified": format_date(stored.created_at),
            "Accept-Ranges": "bytes",
            "X-Image-Id": key.image_id or "",
            **PICTURE_HEADERS,
        }
        decision = decide(
            request.method,
            request.headers,
            etag=stored.etag,
            last_modified=stored.created_at,
            size=stored.size,
        )
        if decision.status == 304:  # noqa: PLR2004 - an HTTP status
            return not_modified(CIMultiDict(headers))
        if decision.status == 416:  # noqa: PLR2004 - an HTTP status
            del headers["Content-Type"]
            request[ERROR_HEADERS] = headers
            raise RangeNotSatisfiable(stored.size)
        wanted = decision.byte_range
        if wanted is None or request.method == hdrs.METH_HEAD:
            return await send_stream(request, headers, body.chunks(), stored.size)
    headers["Content-Range"] = decision.content_range(stored.size) or ""
    async with ledger.open_image(key, wanted) as part:
        if part is None:
            raise NotFound("There is no such picture.")
        return await send_stream(
            request, headers, part.chunks(), wanted.length, decision.status
        )
