"""An object on its way from S3, held to the size that its headers promised."""

from __future__ import annotations

from contextlib import ExitStack, asynccontextmanager
from typing import TYPE_CHECKING

from app.errors import StorageUnavailable
from app.storage.object_keys import require_plain_key
from app.storage.s3 import outages
from app.storage.s3.outages import Refused
from app.storage.s3.waiting import within

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from app.storage.object_store import ByteRange
    from app.storage.s3.reads import Answer, Reads
    from app.storage.s3.waiting import Places

# Until the first bytes of an object: a HIT answers 503 in under two seconds.
READ_TIMEOUT_SECONDS = 1.5
# Between two chunks; the first one is part of opening the object.
STALL_TIMEOUT_SECONDS = 1.5


class RangeBeyondEnd(ValueError):
    """The object is shorter than the range that was asked for."""

    def __init__(self) -> None:
        super().__init__("the range is beyond the end")


class S3Body:
    """An `ObjectBody` whose first bytes have arrived when it has been started."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self._left = answer.size
        self._first = b""

    @property
    def size(self) -> int:
        """How many bytes `chunks` yields."""
        return self._answer.size

    @property
    def media_type(self) -> str:
        """As it was given to the store."""
        return self._answer.media_type

    @property
    def metadata(self) -> Mapping[str, str]:
        """As it was given to the store, names in lower case."""
        return self._answer.metadata

    @property
    def etag(self) -> str:
        """The tag that a conditional write compares."""
        return self._answer.etag

    async def start(self) -> None:
        """Wait for the first bytes: from here on a failure is a body cut short."""
        self._first = await self._next()

    async def chunks(self) -> AsyncIterator[bytes]:
        """Yield the bytes, once; raises `StorageUnavailable` if any are missing."""
        chunk, self._first = self._first, b""
        while chunk:
            yield chunk
            chunk = await self._next()

    async def _next(self) -> bytes:
        if not self._left:
            return b""
        with outages.named():
            async with within(STALL_TIMEOUT_SECONDS):
                chunk = await self._answer.read()
        self._left -= len(chunk)
        if not chunk or self._left < 0:
            raise StorageUnavailable("The object store sent a part of the object.")
        return chunk

    def close(self) -> None:
        """Give the connection up."""
        self._answer.close()


@asynccontextmanager
async def opened(
    reads: Reads,
    key: str,
    byte_range: ByteRange | None = None,
    *,
    places: Places,
) -> AsyncIterator[S3Body | None]:
    """Open *key*, its first bytes at hand, and hold a place meanwhile.

    None if there is no such key. Raises `RangeBeyondEnd`, or `ValueError` for
    a key that is not plain and a range without a byte.
    """
    require_plain_key(key)
    if byte_range is not None and not 0 <= byte_range.first <= byte_range.last:
        raise ValueError("a range has at least one byte")
    async with places.taken():
        with outages.named():
            async with within(READ_TIMEOUT_SECONDS):
                body = await _start(reads, key, byte_range)
        try:
            yield body
        finally:
            if body is not None:
                body.close()


async def _start(reads: Reads, key: str, byte_range: ByteRange | None) -> S3Body | None:
    try:
        body = S3Body(await reads.get(key, byte_range))
    except Refused as refusal:
        # Only this code says that the key is missing: a lost bucket is a 404
        # as well.
        if refusal.code == "NoSuchKey":
            return None
        if refusal.code == "InvalidRange":
            raise RangeBeyondEnd from refusal
        raise
    with ExitStack() as unless_it_starts:
        unless_it_starts.callback(body.close)
        if byte_range is not None and body.size != byte_range.length:
            raise RangeBeyondEnd
        await body.start()
        unless_it_starts.pop_all()
    return body
