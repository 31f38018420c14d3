"""The port to the ledger: immutable objects by key, created conditionally.

Keys are slash-separated, made by `storage_key`. Every method raises
`StorageUnavailable` when the store is unavailable, times out, refuses the
credentials or lost its bucket; only a missing *key* is "not there".
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from app.errors import StorageUnavailable


class PlaceMissing(StorageUnavailable):
    """The store answers, and the bucket or folder is not there."""


class ConditionRefused(StorageUnavailable):
    """The store does not take conditional writes; *detail* is what it answered."""


@dataclass(frozen=True, slots=True)
class ByteRange:
    """The bytes from *first* to *last*, both included, as in RFC 9110 14.1.2."""

    first: int
    last: int

    @property
    def length(self) -> int:
        """Return the count of bytes."""
        return self.last - self.first + 1


@dataclass(frozen=True, slots=True)
class StoredObject:
    """A whole small object and the tag that a conditional write compares."""

    data: bytes
    etag: str


@dataclass(frozen=True, slots=True)
class Listed:
    """One line of a listing."""

    key: str
    size: int
    modified_at: datetime


class ObjectBody(Protocol):
    """An object that is being read.

    *size* counts the bytes that `chunks` yields (the range's, where one was
    asked for); a body that ends early raises `StorageUnavailable`.
    """

    @property
    def size(self) -> int:
        """Return the count of bytes that `chunks` yields."""
        ...

    @property
    def media_type(self) -> str:
        """Return the media type that the object was stored with."""
        ...

    @property
    def metadata(self) -> Mapping[str, str]:
        """Return the metadata that the object was stored with."""
        ...

    def chunks(self) -> AsyncIterator[bytes]:
        """Yield the bytes as they arrive; once."""
        ...


class ObjectStore(Protocol):
    """The store of everything that cost money."""

    async def put(
        self,
        key: str,
        data: bytes,
        *,
        media_type: str,
        metadata: Mapping[str, str] | None = None,
    ) -> str:
        """Keep *data* under *key*, replacing what was there; return its ETag."""
        ...

    async def create(self, key: str, data: bytes, *, media_type: str) -> str | None:
        """Keep *data* only if *key* is free; return its ETag, or None if it is taken.

        Of any number of callers exactly one gets the ETag (RFC 9110 13.1.2,
        `If-None-Match: *`).
        """
        ...

    async def replace(
        self, key: str, data: bytes, *, etag: str, media_type: str
    ) -> str | None:
        """Replace *key* only while its tag is *etag*; None if it is not, or is gone."""
        ...

    async def get(self, key: str) -> StoredObject | None:
        """Return a whole small object, or None if there is none."""
        ...

    def open(
        self, key: str, byte_range: ByteRange | None = None
    ) -> AbstractAsyncContextManager[ObjectBody | None]:
        """Open *key* for streaming; None if there is none.

        A range beyond the end raises `ValueError`: callers know the size.
        """
        ...

    async def exists(self, key: str) -> bool:
        """Return whether *key* is there, by a read: a HEAD gives no reason."""
        ...

    async def delete(self, key: str) -> None:
        """Remove *key*; removing what is not there is a no-op."""
        ...

    def list(self, prefix: str, *, after: str = "") -> AsyncIterator[Listed]:
        """Yield the objects that start with *prefix*, after *after*, in key order."""
        ...

    def on_a_line(self, at_once: int) -> ObjectStore:
        """Return the same store, with *at_once* calls that wait for no others."""
        ...

    async def ping(self) -> None:
        """Return when the store answers and the bucket is there.

        Raises `PlaceMissing` where it is not. Makes nothing.
        """
        ...

    async def make(self) -> None:
        """Make the bucket where it is missing and that is permitted."""
        ...
