"""The port to what the replicas share about transient images: bytes and accounts.

Every method raises `CacheUnavailable` when the cache is unavailable; "nothing there"
and "no room" are answers. Ids are canonical UUIDs; times are the cache's own,
in milliseconds since 1970, so that replicas' clocks decide nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import Enum
from typing import Protocol


class QuotaReached(Enum):
    """Why a picture was not stored: whose room is used up."""

    IN_PROJECT = b"project"
    IN_ALL = b"total"
    IN_COUNT = b"count"
    IN_CACHE = b"cache"


@dataclass(frozen=True, slots=True)
class Quota:
    """Bounds on what is stored: bytes and pictures of a project, bytes in all.

    *in_all* is None where there is no such bound.
    """

    in_project: int
    in_all: int | None
    pictures: int


@dataclass(frozen=True, slots=True)
class StoredImage:
    """A picture that was stored; *expires_ms* is None where it stays."""

    image_id: str
    size: int
    media_type: str
    created_ms: int
    expires_ms: int | None


@dataclass(frozen=True, slots=True)
class Inventory:
    """Pictures that a project has stored at *now_ms*, and the sum of their bytes."""

    images: tuple[StoredImage, ...]
    used_bytes: int
    now_ms: int


@dataclass(frozen=True, slots=True)
class Described:
    """The size of a picture and its first bytes, enough for its magic number."""

    size: int
    head: bytes


class TransientStore(Protocol):
    """Pictures that stay until they are deleted or their time is up."""

    async def put(
        self,
        image_id: str,
        data: bytes,
        *,
        project: str,
        media_type: str,
        ttl: timedelta | None,
        quota: Quota,
    ) -> StoredImage | QuotaReached:
        """Store *data* and count it, or neither."""
        ...

    async def describe(self, image_id: str) -> Described | None:
        """Return the size and the first bytes, or None if nothing is there."""
        ...

    async def read(self, image_id: str, first: int, last: int) -> bytes:
        """Return the bytes from *first* to *last*; fewer where they are gone."""
        ...

    async def forget(
        self, project: str, image_ids: Sequence[str], *, media_type: str | None = None
    ) -> int:
        """Delete what *project* has of *image_ids*; return how many those were.

        With *media_type* only pictures of that type are meant.
        """
        ...

    async def inventory(self, project: str) -> Inventory:
        """Return the pictures of a project and their bytes, at one moment."""
        ...

    async def digests(
        self, project: str, image_ids: Sequence[str]
    ) -> Mapping[str, bytes]:
        """Return the noted digests of those of *image_ids* that *project* has.

        The digest of a picture is empty until it has been noted.
        """
        ...

    async def note_digest(self, image_id: str, digest: bytes) -> None:
        """Keep *digest* for as long as the picture is there."""
        ...

    async def sweep(self) -> int:
        """Discard bytes whose time is up, of any replica; return how many pictures."""
        ...
