"""A rendition: its picture, width and format, and its key in the store."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from app.errors import InvalidParameter
from app.image import EXTENSIONS
from app.storage.storage_key import StorageKey

if TYPE_CHECKING:
    from datetime import datetime

    from app.storage.storage_key import Project

PNG, JPEG, WEBP, AVIF = "image/png", "image/jpeg", "image/webp", "image/avif"

MEDIA_TYPE_OF_FORMAT = {"png": PNG, "jpeg": JPEG, "webp": WEBP, "avif": AVIF}
LOSSY = frozenset({JPEG, WEBP, AVIF})

# What the formats can say of a side (RFC 9649, 3; ITU-T T.81, B.2.2).
_LONGEST_SIDE = {JPEG: 65_535, WEBP: 16_383, AVIF: 65_535}
# Its encoder takes 24 bytes a pixel: larger ones would not fit into the memory
# that the shipped files give a replica.
_MAX_AVIF_PIXELS = 17_000_000


class Original(NamedTuple):
    """A stored picture, as far as its renditions need to know it.

    *width* and *height* are as shown. *model* is the alias that painted it, ""
    where that is not known. *c2pa_lost* says that the provider's picture had a
    C2PA manifest, which no rendition has.
    """

    project: Project
    image_id: str
    media_type: str
    size: int
    digest: str
    width: int
    height: int
    created_at: datetime
    model: str = ""
    is_placeholder: bool = False
    c2pa_lost: bool = False

    @property
    def memory_key(self) -> str:
        """The name under which the hot tier holds its bytes."""
        return self.image_id

    @property
    def storage_key(self) -> StorageKey:
        """The key of the picture in the object store."""
        return StorageKey.of_generated(self.project, self.image_id, self.media_type)


class RenditionPlan(NamedTuple):
    """The rendition to make of a picture; *width* is at most the picture's own."""

    width: int
    media_type: str
    q: int | None

    @property
    def filename(self) -> str:
        """The name in the folder of the picture's renditions."""
        quality = "" if self.q is None else f"-q{self.q}"
        return f"{self.width}{quality}.{EXTENSIONS[self.media_type]}"


class Rendition(NamedTuple):
    """A requested rendition; None leaves it as the picture has it.

    *q* is the quality of a lossy format, 0 to 100.
    """

    width: int | None = None
    media_type: str | None = None
    q: int | None = None

    def plan(self, original: Original) -> RenditionPlan | None:
        """Return the plan of the rendition of *original*; None for the picture itself.

        Raises `InvalidParameter` for a quality of a format that has none.
        """
        width = min(self.width or original.width, original.width)
        is_whole = width == original.width and self.q is None
        if is_whole and self.media_type in {None, original.media_type}:
            return None
        # There are no renditions in GIF, which has too few colours.
        own = PNG if original.media_type == "image/gif" else original.media_type
        media_type = self.media_type or own
        if self.q is not None and media_type not in LOSSY:
            raise InvalidParameter("q", "q is for jpeg, webp and avif: name a format.")
        if not can_be(media_type, width, original.width, original.height):
            raise InvalidParameter("format", "The picture is too large for the format.")
        return RenditionPlan(width, media_type, self.q)


def can_be(media_type: str, width: int | None, own_width: int, own_height: int) -> bool:
    """Return whether a picture can be one of *media_type* at *width*."""
    width = min(width or own_width, own_width)
    height = height_at(width, own_width, own_height)
    if media_type == AVIF and width * height > _MAX_AVIF_PIXELS:
        return False
    longest = max(width, height)
    return longest <= _LONGEST_SIDE.get(media_type, longest)


def height_at(width: int, own_width: int, own_height: int) -> int:
    """Return the height that keeps a picture's shape at *width*."""
    return max(1, round(own_height * width / own_width))


class StoredRendition(NamedTuple):
    """A rendition in the store: what an answer says of it.

    *image_id* is the picture's. *c2pa_lost* is the original's.
    """

    project: Project
    image_id: str
    filename: str
    media_type: str
    size: int
    digest: str
    created_at: datetime
    c2pa_lost: bool = False

    @property
    def memory_key(self) -> str:
        """The name under which the hot tier holds its bytes."""
        return f"{self.image_id}/{self.filename}"

    @property
    def storage_key(self) -> StorageKey:
        """The key of the rendition in the object store."""
        return StorageKey.of_rendition(self.project, self.image_id, self.filename)
