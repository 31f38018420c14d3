"""The pictures of an edit: bytes that came with it, or ids of the own project's."""

from __future__ import annotations

import asyncio
from itertools import repeat
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

from app import urls
from app.api.parameters import MAX_REFERENCES
from app.errors import (
    InvalidParameter,
    InvalidStorageKey,
    ReferencesGone,
    UnsupportedImage,
)
from app.image import MEDIA_TYPES, Image, opened
from app.storage.storage_key import StorageKey, is_image_id
from app.transient_images import DataUrl, InvalidDataUrl

if TYPE_CHECKING:
    from collections.abc import Iterable

    from app.api.services import Services
    from app.prompt_cache.entry.prompt_key import Parameters
    from app.storage.storage_key import Project

IMAGE, IMAGES, MASK = "image", "images", "mask"
IMAGE_URL = "image_url"
_WITH_ALPHA = frozenset({"RGBA", "LA"})

# A picture that was sent, or the id of one that is here.
Sent = bytes | str


class EditPictures(NamedTuple):
    """The pictures of one edit, in order; the mask is last where there is one.

    *own* are the ids of those that the project has; None stands for the next of
    those that were *sent*.
    """

    own: list[str | None]
    sent: list[Image]
    digests: tuple[str, ...]
    has_mask: bool

    def named(
        self, parameters: Parameters, copies: Iterable[str] | None = None
    ) -> Parameters:
        """Return *parameters* with the pictures; *copies* are ids of those sent.

        Without *copies* they are good for the hash, and can't be read.
        """
        rest = repeat("") if copies is None else iter(copies)
        ids = [next(rest) if one is None else one for one in self.own]
        last = len(ids) - self.has_mask
        return parameters._replace(
            references=tuple(ids[:last]),
            reference_digests=self.digests[:last],
            mask=ids[last] if self.has_mask else None,
            mask_digest=self.digests[last] if self.has_mask else None,
        )


async def read_pictures(
    services: Services,
    project: Project,
    images: list[Sent],
    mask: Sent | None,
    name: str,
) -> EditPictures:
    """Return the pictures of an edit, which *name* gave; raises `InvalidParameter`."""
    if not 1 <= len(images) <= MAX_REFERENCES:
        raise InvalidParameter(name, f"An edit takes 1 to {MAX_REFERENCES} pictures.")
    pictures = [*images] if mask is None else [*images, mask]
    own: list[str | None] = []
    sent: list[Image] = []
    for number, picture in enumerate(pictures):
        is_mask = number == len(images)
        if isinstance(picture, str):
            own.append(picture)
        else:
            own.append(None)
            sent.append(await _inspected(picture, MASK if is_mask else name))
    ids = [one for one in own[: len(images)] if one]
    known = await _digests(services, project, ids, name)
    ids = [one for one in own[len(images) :] if one]
    known += await _digests(services, project, ids, MASK)
    of_own, of_sent = iter(known), iter(sent)
    digests = [next(of_sent).digest if one is None else next(of_own) for one in own]
    return EditPictures(own, sent, tuple(digests), mask is not None)


async def _digests(
    services: Services, project: Project, ids: list[str], name: str
) -> tuple[str, ...]:
    if not ids:
        return ()
    try:
        return await services.transient_images.reference_pictures.digests(project, ids)
    except ReferencesGone:
        raise InvalidParameter(name, "The project has no such picture.") from None


async def _inspected(data: bytes, name: str) -> Image:
    try:
        return await asyncio.to_thread(_inspect, data, name)
    except UnsupportedImage as error:
        raise InvalidParameter(name, error.detail) from error


def _inspect(data: bytes, name: str) -> Image:
    image = Image.inspect(data)
    if name == MASK:
        with opened(data) as header:
            has_alpha = header.mode in _WITH_ALPHA or "transparency" in header.info
        if image.media_type != "image/png" or not has_alpha:
            raise InvalidParameter(MASK, "mask must be a PNG with transparency.")
    return image


def read_images(
    value: Any, own_origins: frozenset[str], project: Project
) -> list[Sent]:
    """Return the pictures of the field `images` in JSON; see `read_image`."""
    if not isinstance(value, list) or not 1 <= len(value) <= MAX_REFERENCES:
        raise InvalidParameter(
            IMAGES, f"images must be a list of 1 to {MAX_REFERENCES} pictures."
        )
    return [read_image(one, IMAGES, own_origins, project) for one in value]


def read_image(
    value: Any, name: str, own_origins: frozenset[str], project: Project
) -> Sent:
    """Return the picture that `{"image_url": ...}` names; raises `InvalidParameter`."""
    url = value.get(IMAGE_URL) if isinstance(value, dict) else None
    if not isinstance(url, str | DataUrl) or value.keys() != {IMAGE_URL}:
        raise InvalidParameter(name, f"{name} takes pictures as image_url.")
    if isinstance(url, str):
        return _own_id(url, name, own_origins, project)
    try:
        return url.read()
    except InvalidDataUrl as error:
        raise InvalidParameter(name, str(error)) from error


def _own_id(url: str, name: str, own_origins: frozenset[str], project: Project) -> str:
    """Return the id of the own picture at *url*: nothing is fetched from elsewhere."""
    elsewhere = InvalidParameter(
        name, "image_url must be a data URL, or an address of the project's pictures."
    )
    try:
        parts = urlsplit(url)
    except ValueError:
        raise elsewhere from None
    origin = f"{parts.scheme}://{parts.netloc}" if parts.netloc else ""
    if parts.query or parts.fragment or (origin and origin not in own_origins):
        raise elsewhere
    if parts.path.startswith(f"{urls.IMAGES}/"):
        try:
            key = StorageKey.parse(parts.path.removeprefix(f"{urls.IMAGES}/"))
        except (InvalidStorageKey, InvalidParameter):
            raise elsewhere from None
        if key.project == project and key.image_id is not None:
            return key.image_id
    if parts.path.startswith(f"{urls.TRANSIENT_IMAGES}/"):
        image_id, dot, extension = parts.path.rpartition("/")[2].partition(".")
        if is_image_id(image_id) and (not dot or extension in MEDIA_TYPES):
            return image_id
    raise elsewhere
