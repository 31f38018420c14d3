"""How an answer of the prompt cache looks in HTTP."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from aiohttp import hdrs, web
from multidict import CIMultiDict

from app.http.conditional import format_date
from app.prompt_cache.cache import Outcome
from app.server.bodies import AT_ONCE_BYTES, PICTURE_HEADERS, send_bytes, send_stream
from app.server.frame import LIVE_VARY
from app.server.raw_answers import RawAnswer, lines, may_be_raw

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from datetime import datetime

    from app.api.services import Services
    from app.http.conditional import Decision
    from app.prompt_cache.cache import Answer
    from app.prompt_cache.entry.entry import PromptEntry

PERMALINKS = "/api/v1/images/"
A_YEAR = "public, max-age=31536000"

_NOT_MODIFIED = 304

# RFC 9211: what this cache did with the request.
OF_OUTCOME = {
    outcome: {
        "X-Cache-Status": "MISS" if outcome is Outcome.MISS else "HIT",
        "Cache-Status": cache_status,
    }
    for outcome, cache_status in (
        (Outcome.HIT, "paintonce; hit"),
        (Outcome.RESTORED, "paintonce; hit"),
        (Outcome.COALESCED, "paintonce; fwd=miss; collapsed"),
        (Outcome.MISS, "paintonce; fwd=miss; stored"),
    )
}
_OF_EVERY_PICTURE = {
    "Cache-Control": A_YEAR,
    "Accept-Ranges": "bytes",
    "Vary": LIVE_VARY,
    **PICTURE_HEADERS,
}
_LINES_OF_OUTCOME = {
    outcome: lines({**_OF_EVERY_PICTURE, **said})
    for outcome, said in OF_OUTCOME.items()
}


class PictureHead(NamedTuple):
    """What is the same in every live answer with a picture, as lines.

    *own* are in a 304 as well (RFC 9110, 15.4.5), *of_body* in a 200 alone.
    """

    etag: str
    last_modified: datetime
    of_body: bytes
    own: bytes


def picture_head(entry: PromptEntry) -> PictureHead:
    """Return what every answer with the picture of *entry* says."""
    head = _heads.get(entry.image_id)
    if head is None:
        if len(_heads) >= HEADS_KEPT:
            _heads.clear()
        head = _heads[entry.image_id] = _picture_head(entry)
    return head


# By image id, some 1 KB each. Emptied when full: to tell which was asked for
# last would take longer than to make one anew.
HEADS_KEPT = 32_768
_heads: dict[str, PictureHead] = {}


def _picture_head(entry: PromptEntry) -> PictureHead:
    of_body = {"Content-Type": entry.media_type, "Content-Length": str(entry.size)}
    own = _fields(entry)
    return PictureHead(own["ETag"], entry.created_at, lines(of_body), lines(own))


def _fields(entry: PromptEntry) -> dict[str, str]:
    fields = {
        "ETag": f'"{entry.digest}"',
        "Last-Modified": format_date(entry.created_at),
        "X-Image-Id": entry.image_id,
        "X-Prompt-Hash": entry.prompt_hash,
        "X-Model": entry.model,
        "Content-Location": f"{PERMALINKS}{entry.storage_key}",
    }
    if entry.is_placeholder:
        fields["X-Placeholder"] = "true"
    return fields


def live_headers(answer: Answer) -> CIMultiDict[str]:
    """Return the headers of a live answer but its length."""
    entry = answer.entry
    headers = CIMultiDict(
        {"Content-Type": entry.media_type, **_fields(entry), **_OF_EVERY_PICTURE}
    )
    headers.update(OF_OUTCOME[answer.outcome])
    if answer.hits is not None:
        headers["X-Cache-Hit-Count"] = str(answer.hits)
    if answer.generation_id is not None:
        headers["X-Generation-Id"] = answer.generation_id
    return headers


def _more_lines(answer: Answer) -> bytes:
    """Return as lines what `live_headers` says besides a `PictureHead`."""
    more = _LINES_OF_OUTCOME[answer.outcome]
    if answer.hits is not None:
        more = b"%bX-Cache-Hit-Count: %d\r\n" % (more, answer.hits)
    if answer.generation_id is not None:
        more += lines({"X-Generation-Id": answer.generation_id})
    return more


async def send_picture(
    request: web.Request, services: Services, answer: Answer, decision: Decision
) -> web.StreamResponse:
    """Send *answer* as it was decided: whole, a range of it, or unchanged."""
    is_plain = may_be_raw(request) and not services.lifecycle.draining
    if decision.status == _NOT_MODIFIED:
        if is_plain:
            head = picture_head(answer.entry).own + _more_lines(answer)
            return RawAnswer(decision.status, head)
        return not_modified(live_headers(answer))
    size, wanted = answer.entry.size, decision.byte_range
    if request.method == hdrs.METH_HEAD:
        headers = live_headers(answer)
        return await send_stream(request, headers, _nothing(), size, decision.status)
    data = services.cache.at_hand(answer) or await services.cache.read(answer)
    if is_plain and wanted is None and data is not None and size <= AT_ONCE_BYTES:
        known = picture_head(answer.entry)
        head = known.of_body + known.own + _more_lines(answer)
        return RawAnswer(decision.status, head, data)
    headers = live_headers(answer)
    length = size
    if wanted is not None:
        headers["Content-Range"] = decision.content_range(size) or ""
        length = wanted.length
    if data is not None:
        part: bytes | memoryview = data
        if wanted is not None:
            part = memoryview(data)[wanted.first : wanted.last + 1]
        return await send_bytes(request, headers, part, decision.status)
    async with services.cache.open(answer, wanted) as chunks:
        return await send_stream(request, headers, chunks, length, decision.status)


def not_modified(headers: CIMultiDict[str]) -> web.Response:
    """Return a 304 with what the 200 would have said (RFC 9110, 15.4.5)."""
    del headers["Content-Type"]
    return web.Response(status=304, headers=headers)


async def _nothing() -> AsyncIterator[bytes]:
    return
    yield b""
