"""Stored pictures, by permalink and by id."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from aiohttp import hdrs, web
from multidict import CIMultiDict

from app.api.admission import project_of
from app.api.picture_answers import not_modified
from app.api.services import SERVICES
from app.errors import InvalidParameter, InvalidStorageKey, NotFound
from app.http.conditional import decide
from app.http.http_errors import RangeNotSatisfiable
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
from app.server.bodies import send_stream
from app.server.frame import ERROR_HEADERS
from app.storage.storage_key import StorageKey, is_image_id

if TYPE_CHECKING:
    from app.storage.ports.object_store import ObjectBody


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
        key = await request.app[SERVICES].ledger.find_image(project, image_id)
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
    if any("/" in part for part in decoded):
        raise InvalidStorageKey("A segment of a storage key has no slash.")
    return StorageKey.parse("/".join(decoded))


@dataclass(frozen=True, slots=True)
class _Stored:
    """What a stored picture says of itself."""

    size: int
    digest: str
    created_at: datetime

    @classmethod
    def of(cls, body: ObjectBody) -> _Stored:
        said = body.metadata
        created_at = said.get("created-at")
        return cls(
            size=body.size,
            digest=said.get("sha256", ""),
            created_at=(
                datetime.fromisoformat(created_at)
                if created_at
                else datetime.fromtimestamp(0, UTC)
            ),
        )


async def _send(
    request: web.Request, key: StorageKey, caching: Part
) -> web.StreamResponse:
    ledger = request.app[SERVICES].ledger
    async with ledger.open_image(key) as body:
        if body is None:
            raise NotFound("There is no such picture.")
        stored = _Stored.of(body)
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
