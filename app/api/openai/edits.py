"""Edits in OpenAI's words: a prompt, and the pictures that it is about."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from app.api.admitted_request import CALLER
from app.api.openai.edit_form import MAX_EDIT_BYTES, EditForm, read_form
from app.api.openai.edit_pictures import (
    IMAGE,
    IMAGE_URL,
    IMAGES,
    MASK,
    EditPictures,
    Sent,
    read_image,
    read_images,
    read_pictures,
)
from app.api.openai.fields import Fields, read_fields
from app.api.openai.generations import answer_edit
from app.api.picture_json import read_picture_json
from app.api.services import SERVICES
from app.errors import InvalidParameter
from app.http.body_budget import BODY_BUDGET
from app.http.http_errors import UnsupportedMediaType
from app.http.incoming_bodies import bounded_length, incoming, require_uncompressed

if TYPE_CHECKING:
    from aiohttp import web

    from app.api.openai.fields import Asked

# The names of fields and the boundaries around pictures.
OVERHEAD_BYTES = 2 * 1024 * 1024
_JSON, _FORM = "application/json", "multipart/form-data"

# Larger bodies get as much more time.
_BYTES_PER_DEADLINE = 16 * 1024 * 1024


class _Body(NamedTuple):
    """The parts of a request: fields, the pictures of the field *name*, the mask."""

    fields: Fields
    name: str
    images: list[Sent]
    mask: Sent | None


async def edit(request: web.Request) -> web.StreamResponse:
    """Answer with pictures made from others, painting those that are missing."""
    services = request.app[SERVICES]
    length = _checked_length(request)
    with request.app[BODY_BUDGET].holding(length):
        asked, pictures = await _read(request, length)
    return await answer_edit(request, services, asked, pictures)


async def _read(request: web.Request, length: int) -> tuple[Asked, EditPictures]:
    services = request.app[SERVICES]
    body = await _body(request, length)
    body.fields.require_known()
    asked = read_fields(body.fields, services.models.names)
    project = request[CALLER].project
    try:
        services.models.check_references(
            asked.parameters.model, len(body.images), has_mask=body.mask is not None
        )
    except InvalidParameter as error:
        name = body.name if error.parameter == "references" else error.parameter
        raise InvalidParameter(name, error.detail) from error
    pictures = await read_pictures(services, project, body.images, body.mask, body.name)
    return asked, pictures


def _checked_length(request: web.Request) -> int:
    """Return the length of the body, judged by the head of the request."""
    require_uncompressed(request)
    if request.content_type not in {_JSON, _FORM}:
        raise UnsupportedMediaType(f"The body must be {_FORM} or {_JSON}.")
    overhead = OVERHEAD_BYTES if request.content_type == _FORM else 0
    return bounded_length(request, MAX_EDIT_BYTES + overhead)


async def _body(request: web.Request, length: int) -> _Body:
    max_image_bytes = request.app[SERVICES].transient_images.images.max_image_bytes
    times = max(1.0, length / _BYTES_PER_DEADLINE)
    async with incoming(request, times=times):
        if request.content_type == _FORM:
            return _from_form(await read_form(request, max_image_bytes))
        document = await read_picture_json(request, IMAGE_URL, max_image_bytes)
        return _from_json(request, document)


def _from_form(form: EditForm) -> _Body:
    return _Body(Fields(form.texts, is_form=True), IMAGE, [*form.images], form.mask)


def _from_json(request: web.Request, document: dict[str, Any]) -> _Body:
    images, mask = document.pop(IMAGES, None), document.pop(MASK, None)
    project = request[CALLER].project
    own_origins = frozenset(
        {
            request.app[SERVICES].base_url.rstrip("/"),
            f"{request.scheme}://{request.host}",
        }
    )
    if images is None:
        raise InvalidParameter(IMAGES, "images is missing.")
    return _Body(
        Fields(document),
        IMAGES,
        read_images(images, own_origins, project),
        None if mask is None else read_image(mask, MASK, own_origins, project),
    )
