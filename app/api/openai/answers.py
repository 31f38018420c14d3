"""Answers in OpenAI's words: one JSON document with all pictures."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson
from aiohttp import web

from app.api.picture_answers import live_headers
from app.generation.usage import Usage
from app.http.picture_headers import KEPT_BY_KEYS
from app.server.bodies import AT_ONCE_BYTES, send_stream
from app.server.request_context import MORE_HEADERS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from app.api.openai.fields import Asked
    from app.api.openai.pictures import Picture
    from app.api.services import Services

NO_STORE = {"Content-Type": "application/json", "Cache-Control": "no-store"}
_HEADERS_OF_ONE = frozenset({"content-location", "cache-status", "vary"})

# Stands where a picture's base64 is written, and can't be part of any text.
_GAP = b'"b64_json":""'
_B64_JSON_END = len(_GAP) - 1


async def send_pictures(
    request: web.Request, services: Services, asked: Asked, pictures: Sequence[Picture]
) -> web.StreamResponse:
    """Answer with all *pictures*."""
    document = orjson.dumps(document_of(services, asked, pictures))
    headers = _headers(request, pictures)
    if asked.output.as_url:
        return web.Response(body=document, headers=headers)
    pieces = _around_gaps(document)
    length = len(document) + sum(picture.base64_size for picture in pictures)
    body = _body(services, pieces, pictures)
    if length <= AT_ONCE_BYTES:
        whole = b"".join([piece async for piece in body])
        return web.Response(body=whole, headers=headers)
    return await send_stream(request, headers, body, length)


def repeated_options(asked: Asked) -> dict[str, str]:
    """Return the options that the answer repeats."""
    chosen = asked.parameters
    options = {"quality": chosen.quality, "background": chosen.background}
    return {name: value for name, value in options.items() if value is not None}


def form_of(picture: Picture) -> dict[str, str]:
    """Return the type and size of a picture."""
    entry = picture.answer.entry
    return {
        "output_format": picture.media_type.partition("/")[2],
        "size": f"{entry.width}x{entry.height}",
    }


def usage_of(pictures: Sequence[Picture]) -> dict[str, Any]:
    """Return the tokens that providers counted for pictures of this request."""
    total = Usage()
    for picture in pictures:
        total = total.plus(picture.answer.usage)
    return total.as_json()


def document_of(
    services: Services, asked: Asked, pictures: Sequence[Picture]
) -> dict[str, Any]:
    """Return the document of an answer with *pictures*, base64 left out."""
    return {
        "created": pictures[0].answer.entry.created_ms // 1000,
        "data": [_datum(services, asked, picture) for picture in pictures],
        **form_of(pictures[0]),
        **repeated_options(asked),
        "usage": usage_of(pictures),
    }


def _datum(services: Services, asked: Asked, picture: Picture) -> dict[str, Any]:
    answer = picture.answer
    shown = (
        {"url": services.base_url + picture.path}
        if asked.output.as_url
        else {"b64_json": ""}
    )
    return {
        **shown,
        "image_id": answer.entry.image_id,
        "prompt_hash": answer.entry.prompt_hash,
        "cache_status": "HIT" if picture.is_hit else "MISS",
        "hits": answer.hits,
    }


def _around_gaps(document: bytes) -> list[bytes]:
    """Return the parts of *document* between which base64 is written."""
    first, *others = document.split(_GAP)
    pieces = [first + _GAP[:_B64_JSON_END]]
    pieces += [_GAP[_B64_JSON_END:] + part + _GAP[:_B64_JSON_END] for part in others]
    pieces[-1] = pieces[-1].removesuffix(_GAP[:_B64_JSON_END])
    return pieces


async def _body(
    services: Services, pieces: Sequence[bytes], pictures: Sequence[Picture]
) -> AsyncIterator[bytes]:
    yield pieces[0]
    for piece, picture in zip(pieces[1:], pictures, strict=True):
        async for part in picture.base64(services):
            yield part
        yield piece


def is_own_header(name: str) -> bool:
    """Return whether a header of live generation is one of the front's as well."""
    return name.lower().startswith("x-") or name.lower() in _HEADERS_OF_ONE


def _headers(request: web.Request, pictures: Sequence[Picture]) -> dict[str, str]:
    if len(pictures) > 1:
        # The rate's headers, too, are those of a request for one picture.
        request[MORE_HEADERS] = {}
        all_hits = all(picture.is_hit for picture in pictures)
        return {**NO_STORE, "X-Cache-Status": "HIT" if all_hits else "MISS"}
    (picture,) = pictures
    live = live_headers(picture.answer, KEPT_BY_KEYS, picture.head)
    own = {name: value for name, value in live.items() if is_own_header(name)}
    return {**own, **NO_STORE, "Content-Location": picture.path}
