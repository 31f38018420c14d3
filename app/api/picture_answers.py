"""How an answer of the prompt cache looks in HTTP."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import hdrs, web
from cachetools import LRUCache
from multidict import CIMultiDict

from app.api.bodies import PICTURE_HEADERS, send_bytes, send_stream
from app.api.conditional import format_date
from app.api.middlewares import LIVE_VARY
from app.prompt_cache.cache import Outcome

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from app.api.conditional import Decision
    from app.prompt_cache.cache import Answer, PromptCache
    from app.prompt_cache.entry import PromptEntry

PERMALINKS = "/api/v1/images/"
A_YEAR = "public, max-age=31536000"

# RFC 9211: what this cache did with the request.
CACHE_STATUS = {
    Outcome.HIT: "paintonce; hit",
    Outcome.RESTORED: "paintonce; hit",
    Outcome.COALESCED: "paintonce; fwd=miss; collapsed",
    Outcome.MISS: "paintonce; fwd=miss; stored",
}


def live_headers(answer: Answer) -> CIMultiDict[str]:
    """Return the headers of a live answer but its length."""
    entry = answer.entry
    stable = _of_picture.get(entry.image_id)
    if stable is None:
        stable = _of_picture[entry.image_id] = _headers_of_picture(entry)
    headers = stable.copy()
    is_miss = answer.outcome is Outcome.MISS
    headers["X-Cache-Status"] = "MISS" if is_miss else "HIT"
    headers["Cache-Status"] = CACHE_STATUS[answer.outcome]
    if answer.hits is not None:
        headers["X-Cache-Hit-Count"] = str(answer.hits)
    if answer.generation_id is not None:
        headers["X-Generation-Id"] = answer.generation_id
    return headers


# What is the same in every answer with a picture, by its image id.
_of_picture: LRUCache[str, CIMultiDict[str]] = LRUCache(2048)


def _headers_of_picture(entry: PromptEntry) -> CIMultiDict[str]:
    headers = CIMultiDict(
        {
            "Content-Type": entry.media_type,
            "Cache-Control": A_YEAR,
            "ETag": f'"{entry.digest}"',
            "Last-Modified": format_date(entry.created_at),
            "Accept-Ranges": "bytes",
            "X-Image-Id": entry.image_id,
            "X-Prompt-Hash": entry.prompt_hash,
            "X-Model": entry.model,
            "Content-Location": f"{PERMALINKS}{entry.storage_key}",
            "Vary": LIVE_VARY,
            **PICTURE_HEADERS,
        }
    )
    if entry.is_placeholder:
        headers["X-Placeholder"] = "true"
    return headers


def not_modified(headers: CIMultiDict[str]) -> web.Response:
    """Return a 304 with what the 200 would have said (RFC 9110, 15.4.5)."""
    del headers["Content-Type"]
    return web.Response(status=304, headers=headers)


async def send_picture(
    request: web.Request,
    cache: PromptCache,
    answer: Answer,
    headers: CIMultiDict[str],
    decision: Decision,
) -> web.StreamResponse:
    """Send the bytes of an answer, or the range of them that was decided on."""
    wanted = decision.byte_range
    size = answer.entry.size
    if request.method == hdrs.METH_HEAD:
        return await send_stream(request, headers, _nothing(), size, decision.status)
    data = await cache.read(answer)
    if data is not None:
        part: bytes | memoryview = data
        if wanted is not None:
            part = memoryview(data)[wanted.first : wanted.last + 1]
        return await send_bytes(request, headers, part, decision.status)
    async with cache.open(answer, wanted) as chunks:
        length = size if wanted is None else wanted.length
        return await send_stream(request, headers, chunks, length, decision.status)


async def _nothing() -> AsyncIterator[bytes]:
    return
    yield b""
