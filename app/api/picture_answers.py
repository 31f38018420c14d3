"""HTTP answers from answers of the prompt cache."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import hdrs, web
from multidict import CIMultiDict

from app.api.picture_heads import PictureHead, picture_head
from app.http.conditional import NOT_MODIFIED, WHOLE
from app.http.picture_headers import (
    EMBEDDING,
    KEPT_BY_ALL,
    RANGES,
    Part,
    lines,
    merged,
)
from app.prompt_cache.cache import LookupOutcome
from app.server.bodies import AT_ONCE_BYTES, send_bytes, send_stream
from app.server.raw_answers import RawAnswer, may_be_raw
from app.server.request_context import more_lines

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from app.api.picture_bodies import PictureBody
    from app.api.services import Services
    from app.http.conditional import Decision
    from app.prompt_cache.cache import Answer


# RFC 9211: what this cache did with the request.
OF_OUTCOME = {
    outcome: Part.of(
        {
            "X-Cache-Status": "MISS" if outcome is LookupOutcome.MISS else "HIT",
            "Cache-Status": cache_status,
        }
    )
    for outcome, cache_status in (
        (LookupOutcome.HIT, "paintonce; hit"),
        (LookupOutcome.RESTORED, "paintonce; hit"),
        (LookupOutcome.COALESCED, "paintonce; fwd=miss; collapsed"),
        (LookupOutcome.MISS, "paintonce; fwd=miss; stored"),
    )
}
_OF_EVERY_ANSWER = Part.of(merged(RANGES, EMBEDDING))
_LINES_OF_OUTCOME = {
    outcome: part.lines + _OF_EVERY_ANSWER.lines for outcome, part in OF_OUTCOME.items()
}


def _of_this_answer(answer: Answer) -> Mapping[str, str]:
    """Return the headers that belong to this answer alone."""
    fields = {}
    if answer.hits is not None:
        fields["X-Cache-Hit-Count"] = str(answer.hits)
    if answer.generation_id is not None:
        fields["X-Generation-Id"] = answer.generation_id
    return fields


def live_headers(
    answer: Answer, caching: Part = KEPT_BY_ALL, head: PictureHead | None = None
) -> CIMultiDict[str]:
    """Return the headers of a live answer; *head* stands for a rendition's.

    The length is not among them.
    """
    head = head or picture_head(answer.entry)
    return CIMultiDict(
        {
            "Content-Type": head.of_body.fields["Content-Type"],
            **merged(
                head.own,
                caching,
                OF_OUTCOME[answer.outcome],
                _OF_EVERY_ANSWER,
                _of_this_answer(answer),
            ),
        }
    )


def live_lines(answer: Answer, caching: Part, head: PictureHead | None = None) -> bytes:
    """Return `live_headers` without the type, as lines of bytes."""
    own = (head or picture_head(answer.entry)).own
    head_lines = own.lines + caching.lines + _LINES_OF_OUTCOME[answer.outcome]
    if answer.hits is not None:
        # Every HIT runs this: `lines` would take four times as long.
        head_lines += b"X-Cache-Hit-Count: %d\r\n" % answer.hits
    if answer.generation_id is not None:
        head_lines += lines({"X-Generation-Id": answer.generation_id})
    return head_lines


def ready_answer(
    request: web.Request,
    services: Services,
    answer: Answer,
    head: PictureHead,
    *,
    decision: Decision,
    caching: Part,
    data: bytes | None,
) -> RawAnswer | None:
    """Return a 304, or all of *data*, to be sent in one write.

    None for every other answer, and where *data* is None or too large for that.
    """
    if not may_be_raw(request) or services.lifecycle.draining:
        return None
    if decision is NOT_MODIFIED:
        of_body, data = b"", b""
    elif decision is WHOLE and data is not None and len(data) <= AT_ONCE_BYTES:
        of_body = head.of_body.lines
    else:
        return None
    own = live_lines(answer, caching, head) + more_lines(request)
    return RawAnswer(decision.status, of_body + own, data)


async def send_picture(
    request: web.Request,
    services: Services,
    answer: Answer,
    body: PictureBody,
    *,
    decision: Decision,
    caching: Part,
) -> web.StreamResponse:
    """Send *body* as *decision* says: whole, a range of it, or 304."""
    data, head = await needed_bytes(request, body, decision), body.head
    ready = ready_answer(
        request, services, answer, head, decision=decision, caching=caching, data=data
    )
    if ready is not None:
        return ready
    headers = live_headers(answer, caching, head)
    return await send_body(request, headers, body, decision=decision, data=data)


async def needed_bytes(
    request: web.Request, body: PictureBody, decision: Decision
) -> bytes | None:
    """Return the bytes of *body* that are in memory or few; None for those to stream.

    Raises what reading it does, also where none of them will be sent.
    """
    data = body.cached_bytes()
    if data is None and (decision is NOT_MODIFIED or request.method == hdrs.METH_HEAD):
        await body.require()
    elif data is None:
        data = await body.read()
    return data


async def send_body(
    request: web.Request,
    headers: CIMultiDict[str],
    body: PictureBody,
    *,
    decision: Decision,
    data: bytes | None,
) -> web.StreamResponse:
    """Send *body* under *headers* as *decision* says; *data* are the bytes needed."""
    if decision is NOT_MODIFIED:
        return not_modified(headers)
    size, wanted = body.size, decision.byte_range
    if request.method == hdrs.METH_HEAD:
        return await send_stream(request, headers, _nothing(), size, decision.status)
    length = size
    if wanted is not None:
        headers["Content-Range"] = decision.content_range(size) or ""
        length = wanted.length
    if data is not None:
        part: bytes | memoryview = data
        if wanted is not None:
            part = memoryview(data)[wanted.first : wanted.last + 1]
        return await send_bytes(request, headers, part, decision.status)
    async with body.open(wanted) as chunks:
        return await send_stream(request, headers, chunks, length, decision.status)


def not_modified(headers: CIMultiDict[str]) -> web.Response:
    """Return a 304 with the headers of the 200 (RFC 9110, 15.4.5)."""
    del headers["Content-Type"]
    return web.Response(status=304, headers=headers)


async def _nothing() -> AsyncIterator[bytes]:
    return
    yield b""
