"""Renditions in answers: how one is found, and its headers."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from aiohttp import web
from multidict import istr

from app import urls
from app.api.picture_bodies import RenditionBody
from app.api.picture_heads import PictureHead
from app.api.rendition_parameters import Shape
from app.errors import StillGenerating
from app.http.picture_headers import Part, identity
from app.renditions import Original

if TYPE_CHECKING:
    from app.api.rendition_parameters import AskedRendition
    from app.api.services import Services
    from app.prompt_cache.entry.entry import PromptEntry
    from app.prompt_cache.painting.pictures import Pictures
    from app.renditions import Rendition, StoredRendition

_ACCEPT = istr("Accept")
# How often a reader starts again when its rendition was removed meanwhile.
ROUNDS = 3


def rendition_for(request: web.Request, asked: AskedRendition, own: Shape) -> Rendition:
    """Return the rendition that *request* asks for, of a picture like *own*."""
    accept = request.headers.getall(_ACCEPT, ()) if asked.is_negotiated else ()
    return asked.of(own, accept)


def shape_of(picture: PromptEntry | Original) -> Shape:
    """Return the type and the size of a stored picture."""
    return Shape(picture.media_type, picture.width, picture.height)


def original_of(entry: PromptEntry) -> Original:
    """Return the picture of a prompt as its renditions need to know it."""
    return Original(
        entry.project,
        entry.image_id,
        entry.media_type,
        entry.size,
        entry.digest,
        entry.width,
        entry.height,
        entry.created_at,
        entry.model,
        entry.is_placeholder,
        entry.provenance.c2pa or entry.provenance.c2pa_lost,
    )


async def stored_rendition(
    services: Services, entry: PromptEntry, rendition: Rendition, wait_seconds: float
) -> StoredRendition | None:
    """Return a rendition of a prompt's picture; None where that is the picture.

    Raises what `Renditions.open` does.
    """
    renditions = services.renditions.renditions
    known = renditions.known(entry.image_id, rendition)
    if known is not None:
        return known.stored
    return await renditions.open(
        original_of(entry), rendition, wait_seconds=wait_seconds
    )


async def rendition_bytes(
    services: Services, entry: PromptEntry, rendition: Rendition, wait_seconds: float
) -> tuple[bytes, StoredRendition] | None:
    """Return a rendition with its bytes; None where that is the picture itself.

    For an answer that holds them, as base64 does. Raises what `Renditions.open`
    does.
    """
    for _ in range(ROUNDS):
        stored = await stored_rendition(services, entry, rendition, wait_seconds)
        if stored is None:
            return None
        data = await services.prompts.pictures.read_whole(stored)
        if data is not None:
            return data, stored
        services.renditions.renditions.forget(entry.image_id, rendition)
    raise StillGenerating("The rendition is removed faster than it can be read.")


@lru_cache(32_768)
def rendition_head(
    stored: StoredRendition, location: str, described: tuple[tuple[str, str], ...] = ()
) -> PictureHead:
    """Return the head of answers with *stored*; *location* asks for it alone.

    *described* are fields of its picture.
    """
    of_body = {"Content-Type": stored.media_type, "Content-Length": str(stored.size)}
    own = {
        **identity(
            digest=stored.digest,
            created_at=stored.created_at,
            image_id=stored.image_id,
        ),
        **dict(described),
        "Content-Location": location,
    }
    if stored.c2pa_lost:
        own["X-Provenance"] = "c2pa-lost"
    return PictureHead(own["ETag"], stored.created_at, Part.of(of_body), Part.of(own))


def live_rendition_head(
    entry: PromptEntry, stored: StoredRendition, query: str
) -> PictureHead:
    """Return the head of live answers with a rendition of *entry*."""
    described = [("X-Prompt-Hash", entry.prompt_hash), ("X-Model", entry.model)]
    if entry.is_placeholder:
        described.append(("X-Placeholder", "true"))
    location = f"{urls.permalink(entry.storage_key)}?{query}"
    return rendition_head(stored, location, tuple(described))


# As many as there are heads of pictures; some 2 KB each.
_BODIES_KEPT = 32_768


class RenditionBodies:
    """The bodies of renditions in live answers, each made once, read by *pictures*."""

    def __init__(self, pictures: Pictures) -> None:
        self._pictures = pictures
        self._bodies: dict[tuple[str, AskedRendition, Rendition], RenditionBody] = {}

    def of(
        self,
        entry: PromptEntry,
        stored: StoredRendition,
        asked: AskedRendition,
        rendition: Rendition,
    ) -> RenditionBody:
        """Return the body of *stored*, the *rendition* of *entry* that was *asked*."""
        key = (entry.image_id, asked, rendition)
        body = self._bodies.get(key)
        # One that was made again is another object, and may have other bytes.
        if body is not None and body.stored is stored:
            return body
        if len(self._bodies) >= _BODIES_KEPT:
            self._bodies.clear()
        head = live_rendition_head(entry, stored, asked.query_of(rendition))
        body = self._bodies[key] = RenditionBody(self._pictures, stored, head)
        return body


RENDITION_BODIES = web.AppKey("rendition_bodies", RenditionBodies)


def varying_by_accept(caching: Part) -> Part:
    """Return *caching* of an answer whose type `Accept` has decided."""
    return _varying_by_accept(tuple(caching.fields.items()))


@lru_cache(256)
def _varying_by_accept(fields: tuple[tuple[str, str], ...]) -> Part:
    own = dict(fields)
    varies = own.get("Vary")
    own["Vary"] = f"{varies}, Accept" if varies else "Accept"
    return Part.of(own)
