"""The bytes of a picture, from the hot tier or from the ledger, always whole.

What comes from the ledger is compared with the digest of its entry: a damaged
picture is never a whole answer.
"""

from __future__ import annotations

import logging
import re
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from hashlib import sha256
from typing import TYPE_CHECKING, Protocol

from app.errors import StorageUnavailable
from app.single_flight import SingleFlight

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from app.prompt_cache.entry.ledger import Ledger
    from app.prompt_cache.painting.hot_tier import HotTier
    from app.storage.ports.object_store import ByteRange, ObjectBody
    from app.storage.storage_key import StorageKey
    from app.telemetry import Metrics

logger = logging.getLogger(__name__)

# Up to here a picture is read before its first byte is sent: one write, and
# a damaged one is a clear error. Larger ones start before they have arrived.
SMALL_BYTES = 262_144

_DIGEST = re.compile(r"[0-9a-f]{64}")


class PictureGone(Exception):
    """An entry points at a picture that the ledger does not have."""


class KeptPicture(Protocol):
    """A stored picture: a prompt's entry, or a rendition."""

    @property
    def memory_key(self) -> str:
        """The name under which the hot tier holds its bytes."""
        ...

    @property
    def size(self) -> int:
        """Return how many bytes it has."""
        ...

    @property
    def digest(self) -> str:
        """Their SHA-256, in hexadecimal."""
        ...

    @property
    def storage_key(self) -> StorageKey:
        """The key of the picture in the object store."""
        ...


@dataclass(frozen=True, slots=True)
class StoredPicture:
    """A picture as the ledger has it, or a range of it, that is being read.

    *size* counts the bytes of *chunks*, *digest* is that of the whole picture,
    *prompt_hash* "" where it is not known.
    """

    size: int
    digest: str
    created_at: datetime
    prompt_hash: str
    chunks: AsyncIterator[bytes]


class Pictures:
    """Reads the pictures that entries point at."""

    def __init__(self, *, ledger: Ledger, hot_tier: HotTier, metrics: Metrics) -> None:
        self._ledger = ledger
        self._hot_tier = hot_tier
        self._metrics = metrics
        self._readings: SingleFlight[str, bytes] = SingleFlight()

    def keep(self, entry: KeptPicture, data: bytes) -> None:
        """Keep a picture's bytes in memory."""
        self._hot_tier.keep(entry.memory_key, data)

    def forget(self, entry: KeptPicture) -> None:
        """Remove a picture's bytes from memory."""
        self._hot_tier.forget(entry.memory_key)

    def cached_bytes(self, entry: KeptPicture) -> bytes | None:
        """Return a picture's bytes if this replica holds them."""
        return self._hot_tier.get(entry.memory_key)

    async def read(self, entry: KeptPicture) -> bytes | None:
        """Return the bytes of a picture that is cached or small, else None.

        Raises `PictureGone` and `StorageUnavailable`.
        """
        data = self.cached_bytes(entry)
        if data is not None or entry.size > SMALL_BYTES:
            return data
        return await self._readings.share(
            # After a painting the waiters of another replica all ask at once.
            entry.memory_key,
            partial(self._read_now, entry),
        )

    async def read_whole(self, entry: KeptPicture) -> bytes | None:
        """Return all bytes of a picture, however many; None if it is gone."""
        try:
            data = await self.read(entry)
            if data is None:
                async with self.open(entry) as chunks:
                    data = b"".join([chunk async for chunk in chunks])
        except PictureGone:
            return None
        return data

    async def require(self, entry: KeptPicture) -> None:
        """Return if a reader would get the picture; raises what `read` or `open` do.

        A small one is read meanwhile, and is cached afterwards.
        """
        if self.cached_bytes(entry) is not None:
            return
        if entry.size <= SMALL_BYTES and self._hot_tier.accepts(entry.size):
            await self.read(entry)
        elif not await self._ledger.has_image(entry.storage_key):
            raise PictureGone

    async def _read_now(self, entry: KeptPicture) -> bytes:
        # Not as a stream: it stands in no line with those of large pictures.
        data = await self._ledger.read_image(entry.storage_key)
        if data is None:
            raise PictureGone
        if len(data) != entry.size or sha256(data).hexdigest() != entry.digest:
            raise self._damaged(entry.memory_key)
        self._hot_tier.keep(entry.memory_key, data)
        return data

    @asynccontextmanager
    async def open(
        self, entry: KeptPicture, byte_range: ByteRange | None = None
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        """Open a picture in the ledger, or a range of it, for streaming.

        Raises `PictureGone` before anything is yielded; a picture that breaks
        off, or is not what its entry says, raises `StorageUnavailable` after
        its last chunk: hold that one back until the iteration has ended.
        """
        async with AsyncExitStack() as stack:
            opening = self._ledger.open_image(entry.storage_key, byte_range)
            try:
                body = await stack.enter_async_context(opening)
            except ValueError as error:
                # The range lies within the entry's size, beyond the picture's.
                raise self._damaged(entry.memory_key) from error
            if body is None:
                raise PictureGone
            if byte_range is not None and byte_range.length < entry.size:
                # A range has no digest of its own: that of the whole, noted when
                # it was stored, is compared.
                if body.metadata.get("sha256") != entry.digest:
                    raise self._damaged(entry.memory_key)
                yield body.chunks()
            elif body.size == entry.size:
                yield self._collected(entry, body)
            else:
                raise self._damaged(entry.memory_key)

    @asynccontextmanager
    async def open_stored(
        self, key: StorageKey, byte_range: ByteRange | None = None
    ) -> AsyncIterator[StoredPicture | None]:
        """Open the picture under *key* without an entry; None if it is gone.

        Raises like `open`. An object without the metadata that we store counts as
        damaged.
        """
        async with AsyncExitStack() as stack:
            opening = self._ledger.open_image(key, byte_range)
            image_id = key.image_id or ""
            try:
                body = await stack.enter_async_context(opening)
            except ValueError as error:
                raise self._damaged(image_id) from error
            if body is None:
                yield None
                return
            digest = body.metadata.get("sha256", "")
            if not _DIGEST.fullmatch(digest):
                raise self._damaged(image_id)
            chunks = body.chunks()
            if byte_range is None:
                chunks = self._checked(chunks, image_id, body.size, digest)
            prompt_hash = body.metadata.get("prompt-hash", "")
            yield StoredPicture(
                body.size, digest, _created_at(body), prompt_hash, chunks
            )

    async def _checked(
        self, chunks: AsyncIterator[bytes], image_id: str, size: int, digest: str
    ) -> AsyncIterator[bytes]:
        hashed, seen = sha256(), 0
        async for chunk in chunks:
            hashed.update(chunk)
            seen += len(chunk)
            yield chunk
        if seen != size or hashed.hexdigest() != digest:
            raise self._damaged(image_id)

    async def _collected(
        self, entry: KeptPicture, body: ObjectBody
    ) -> AsyncIterator[bytes]:
        checked = self._checked(
            body.chunks(), entry.memory_key, entry.size, entry.digest
        )
        with self._hot_tier.collecting(entry.memory_key, entry.size) as collected:
            async for chunk in checked:
                if collected is not None:
                    collected.append(chunk)
                yield chunk

    def _damaged(self, image_id: str) -> StorageUnavailable:
        self._metrics.damaged_object()
        logger.error("picture is damaged", extra={"image_id": image_id})
        return StorageUnavailable("The stored picture is damaged.")


def _created_at(body: ObjectBody) -> datetime:
    with suppress(ValueError):
        return datetime.fromisoformat(body.metadata.get("created-at", ""))
    return datetime.fromtimestamp(0, UTC)
