"""An object on its way from S3, held to the size that its headers promised."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

from app.errors import StorageUnavailable
from app.storage.ports.object_keys import require_plain_key
from app.storage.s3 import translated_errors
from app.storage.s3.timeouts import stall_tolerant_timeout
from app.storage.s3.translated_errors import Refused

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from app.storage.ports.object_store import ByteRange
    from app.storage.s3.reads import Reads, StoreAnswer
    from app.storage.s3.timeouts import CallLimit

# Until the first bytes of an object: a HIT answers 503 in under two seconds.
READ_TIMEOUT_SECONDS = 1.5
# Until a window of it is there; the first bytes are part of opening the object.
STALL_TIMEOUT_SECONDS = 1.5

_FIRST_BYTES = 131_072


class RangeBeyondEnd(ValueError):
    """The object is shorter than the range that was asked for."""

    def __init__(self) -> None:
        super().__init__("the range is beyond the end")


class S3Body:
    """The body of a GET whose first bytes have arrived when it has been started."""

    def __init__(self, answer: StoreAnswer, give_back: Callable[[], None]) -> None:
        self._answer = answer
        self._give_back = give_back
        self._coming = answer.size
        self._first = b""

    @property
    def size(self) -> int:
        """Return its size in bytes."""
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

    @property
    def left(self) -> int:
        """Return the count of bytes that have not been read."""
        return self._coming + len(self._first)

    @property
    def buffered(self) -> int:
        """Return the count of bytes that can be read without waiting."""
        return len(self._first)

    async def start(self) -> None:
        """Wait for the first bytes: from here on a failure is a body cut short."""
        if self.size:
            self._first = await self._next(_FIRST_BYTES)

    async def read(self, size: int) -> tuple[bytes, ...]:
        """Return the next *size* bytes, in pieces as they arrived.

        Raises `StorageUnavailable` if there are fewer. The caller bounds the
        time, and translates what else the network raises.
        """
        pieces = []
        while size:
            pieces.append(await self._next(size))
            size -= len(pieces[-1])
        return tuple(pieces)

    async def _next(self, at_most: int) -> bytes:
        if self._first:
            chunk, self._first = self._first[:at_most], self._first[at_most:]
            return chunk
        chunk = await self._answer.read(at_most)
        self._coming -= len(chunk)
        if not chunk:
            raise StorageUnavailable("The object store sent a part of the object.")
        return chunk

    def close(self) -> None:
        """Close the connection and give the slot back."""
        self._answer.close()
        self._give_back()


async def begin(
    reads: Reads,
    key: str,
    byte_range: ByteRange | None = None,
    *,
    slots: CallLimit,
) -> S3Body | None:
    """Open *key* as `start` does, in time; it holds a slot until it is closed.

    Raises `StorageUnavailable`.
    """
    await slots.take()
    with ExitStack() as unless_it_starts:
        unless_it_starts.callback(slots.give_back)
        with translated_errors.translated():
            async with stall_tolerant_timeout(READ_TIMEOUT_SECONDS):
                body = await start(reads, key, byte_range, slots.give_back)
        if body is not None:
            unless_it_starts.pop_all()
    return body


async def start(
    reads: Reads,
    key: str,
    byte_range: ByteRange | None = None,
    give_back: Callable[[], None] = lambda: None,
) -> S3Body | None:
    """Open *key* with its first bytes read; *give_back* is called when it is closed.

    None if there is no such key. Raises `RangeBeyondEnd`, `ValueError` for a
    key that is not plain and a range without a byte, and what the network does.
    """
    require_plain_key(key)
    if byte_range is not None and not 0 <= byte_range.first <= byte_range.last:
        raise ValueError("a range has at least one byte")
    try:
        answer = await reads.get(key, byte_range)
    except Refused as refusal:
        # Only this code says that the key is missing: a lost bucket is a 404
        # as well.
        if refusal.code == "NoSuchKey":
            return None
        if refusal.code == "InvalidRange":
            raise RangeBeyondEnd from refusal
        raise
    if byte_range is not None and answer.size != byte_range.length:
        answer.close()
        raise RangeBeyondEnd
    body = S3Body(answer, give_back)
    try:
        await body.start()
    except BaseException:
        answer.close()
        raise
    return body
