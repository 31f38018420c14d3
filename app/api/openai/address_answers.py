"""HITs whose answer is an address (`response_format=url`), sent in one write.

The parts that never change are rendered once for each picture, as for live
generation.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import orjson
from aiohttp import HttpVersion11, hdrs

from app.api.openai.answers import NO_STORE, document_of, is_own_header
from app.api.picture_answers import live_headers
from app.http.picture_headers import KEPT_BY_KEYS, lines
from app.prompt_cache.cache import LookupOutcome
from app.server.raw_answers import RawAnswer
from app.server.request_context import MORE_HEADERS

if TYPE_CHECKING:
    from aiohttp import web

    from app.api.openai.fields import Asked
    from app.api.openai.pictures import Picture
    from app.api.services import Services

# Some 3 KB each; emptied when full, like the heads of live answers.
MAX_KNOWN = 16_384
_HITS = b'"hits":'


class AddressAnswers:
    """The rendered answers of this replica, by picture and options."""

    def __init__(self) -> None:
        self._known: dict[tuple[object, ...], tuple[bytes, bytes, bytes]] = {}

    def of_hit(
        self, request: web.Request, services: Services, asked: Asked, picture: Picture
    ) -> RawAnswer | None:
        """Return the answer to *request*; None where aiohttp has to render it."""
        answer = picture.answer
        if answer.outcome is not LookupOutcome.HIT or answer.hits is None:
            return None
        if services.lifecycle.draining or not _may_be_raw(request):
            return None
        chosen = asked.parameters
        key = (
            *(answer.entry.image_id, picture.path),
            *(chosen.quality, chosen.background),
        )
        known = self._known.get(key)
        if known is None:
            if len(self._known) >= MAX_KNOWN:
                self._known.clear()
            known = self._known[key] = _rendered(services, asked, picture)
        head, before, after = known
        body = b"%b%d%b" % (before, answer.hits, after)
        more = request.get(MORE_HEADERS)
        own = b"%bX-Cache-Hit-Count: %d\r\nContent-Length: %d\r\n" % (
            head,
            answer.hits,
            len(body),
        )
        return RawAnswer(200, own + lines(more) if more else own, body)


def _may_be_raw(request: web.Request) -> bool:
    return (
        request.version == HttpVersion11
        and request.keep_alive
        and hdrs.UPGRADE not in request.headers
    )


def _rendered(
    services: Services, asked: Asked, picture: Picture
) -> tuple[bytes, bytes, bytes]:
    """Return the head, and the body before and after the number of hits."""
    uncounted = picture._replace(answer=picture.answer._replace(hits=None))
    live = live_headers(uncounted.answer, KEPT_BY_KEYS, picture.head)
    own = {name: value for name, value in live.items() if is_own_header(name)}
    head = lines({**own, **NO_STORE, "Content-Location": picture.path})
    document = orjson.dumps(document_of(services, asked, [uncounted]))
    before, after = document.split(_HITS + b"null", 1)
    return head, before + _HITS, after
