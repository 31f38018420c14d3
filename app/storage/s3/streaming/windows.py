"""Large objects, read a window at a time as their readers take them.

A GET that a slow client holds open costs a megabyte and a half here (aiohttp
reads on until half a megabyte lies unread, uvloop in pieces of 256 KiB, and all
that again once a reader has taken it in hand), more in the kernel, and a
connection; and a store that fills such buffers for some hundreds at once
answers the last of them too late. So readers share windows, and GETs:

- A reader that wants a window that is being fetched or sent shares it.
- A GET is parked where a window ends, for the reader of the next. Readers
  that keep up read an object by a single GET, as if it were streamed.
- What stays parked for longer than 100 ms is given up. A slow reader holds one
  window here, nothing at the store, and comes back with a GET for the next.
"""

from __future__ import annotations

import asyncio
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

from app.errors import StorageUnavailable
from app.single_flight import SingleFlight
from app.storage.ports.object_store import ByteRange
from app.storage.s3 import translated_errors
from app.storage.s3.streaming.body import (
    READ_TIMEOUT_SECONDS,
    STALL_TIMEOUT_SECONDS,
    RangeBeyondEnd,
    begin,
)
from app.storage.s3.streaming.parked import PARKED_SECONDS, ParkedStreams
from app.storage.s3.timeouts import MAX_WAITING_SECONDS, stall_tolerant_timeout

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from app.storage.s3.reads import Reads
    from app.storage.s3.streaming.body import S3Body
    from app.storage.s3.timeouts import CallLimit

# They begin at multiples of it, so that readers meet. With half as much the work
# for each window costs a fast reader 15 % of its speed instead of 8.
WINDOW_BYTES = 262_144

# What a slow reader holds, and is a GET for each.
SLOW_WINDOW_BYTES = 131_072


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class Window:
    """Consecutive bytes of an object, in pieces as they arrived."""

    pieces: tuple[bytes, ...]
    size: int


@dataclass(frozen=True, slots=True)
class _Opening:
    """Headers of a GET, of an object or a range of it, and its first window."""

    size: int
    media_type: str
    metadata: Mapping[str, str]
    etag: str
    window: Window


class Windows:
    """Reads objects for all their readers; *slots* bound the GETs at once."""

    def __init__(self, reads: Reads, slots: CallLimit) -> None:
        self._reads = reads
        self._slots = slots
        self._parked = ParkedStreams()
        self._openings: SingleFlight[tuple[str, ByteRange | None], _Opening | None]
        self._openings = SingleFlight()
        self._fetches: SingleFlight[tuple[str, str, ByteRange], Window] = SingleFlight()
        # Weak: a window is kept only while a reader sends it.
        self._in_use: WeakValueDictionary[tuple[str, str, ByteRange], Window]
        self._in_use = WeakValueDictionary()

    async def open(
        self, key: str, byte_range: ByteRange | None = None
    ) -> WindowedBody | None:
        """Open *key* with its first bytes read; None if there is no such key.

        A GET that began after the call decides that, never a window in use: a
        picture that was purged before is not there. Raises `RangeBeyondEnd`.
        """
        with translated_errors.translated():
            async with stall_tolerant_timeout(
                MAX_WAITING_SECONDS + READ_TIMEOUT_SECONDS
            ):
                opening = await self._openings.share_next(
                    (key, byte_range), partial(self._open_now, key, byte_range)
                )
        if opening is None:
            return None
        return WindowedBody(self, key, _first(byte_range), opening)

    async def fetch(
        self, key: str, etag: str, wanted: ByteRange, *, span: int, size: int
    ) -> Window:
        """Return the first window of *wanted*, in the object that has *etag*.

        Windows end at multiples of *size*. A GET that is made for one asks for
        *span* bytes, to be parked. Raises `StorageUnavailable` also if
        another object is there by now, or none.
        """
        window_range = ByteRange(
            wanted.first, min(_end(wanted.first, size), wanted.last)
        )
        asked_for = (key, etag, window_range)
        window = self._in_use.get(asked_for)
        if window is None:
            last = max(window_range.last, wanted.first + span - 1)
            asked = ByteRange(wanted.first, min(last, wanted.last))
            window = self._in_use[asked_for] = await self._fetches.share(
                asked_for,
                partial(self._fetch_now, key, etag, window_range.length, asked),
            )
        return window

    def give_up(self, key: str, etag: str, at: int) -> None:
        """Close the GET that is parked at *at*: its reader has gone."""
        self._parked.give_up((key, etag, at))

    def close(self) -> None:
        """Close what is parked."""
        self._parked.close()

    async def _open_now(
        self, key: str, byte_range: ByteRange | None
    ) -> _Opening | None:
        body = await self._begin(key, byte_range)
        if body is None:
            return None
        at = _first(byte_range)
        # What has arrived is enough to begin with.
        size = min(_end(at, WINDOW_BYTES) + 1 - at, body.buffered)
        window = await self._take(body, key, at, size)
        return _Opening(body.size, body.media_type, body.metadata, body.etag, window)

    async def _fetch_now(
        self, key: str, etag: str, size: int, asked: ByteRange
    ) -> Window:
        body = self._parked.resume((key, etag, asked.first), at_least=size)
        if body is None:
            body = await self._begin_again(key, etag, asked)
        return await self._take(body, key, asked.first, size)

    async def _begin(self, key: str, byte_range: ByteRange | None) -> S3Body | None:
        """Begin a GET; where slots run short, one that is parked is closed."""
        if self._slots.is_full:
            self._parked.give_up_oldest()
        return await begin(self._reads, key, byte_range, slots=self._slots)

    async def _begin_again(self, key: str, etag: str, asked: ByteRange) -> S3Body:
        try:
            body = await self._begin(key, asked)
        except RangeBeyondEnd as error:
            raise StorageUnavailable("The object is shorter by now.") from error
        if body is None:
            raise StorageUnavailable("The object is gone by now.")
        if not etag or body.etag != etag:
            body.close()
            raise StorageUnavailable("Another object is there by now.")
        return body

    async def _take(self, body: S3Body, key: str, at: int, size: int) -> Window:
        """Read *size* bytes, and leave the others for who wants the next ones."""
        with ExitStack() as unless_it_is_left:
            unless_it_is_left.callback(body.close)
            with translated_errors.translated():
                async with stall_tolerant_timeout(STALL_TIMEOUT_SECONDS):
                    window = Window(await body.read(size), size)
            if body.left and self._parked.park((key, body.etag, at + size), body):
                unless_it_is_left.pop_all()
        return window


class WindowedBody:
    """An `ObjectBody` that holds one window, and lets go of it for the next one."""

    def __init__(
        self, windows: Windows, key: str, first: int, opening: _Opening
    ) -> None:
        self._windows = windows
        self._key = key
        self._etag = opening.etag
        self._at = first
        self._window: Window | None = opening.window
        self.size = opening.size
        self.media_type = opening.media_type
        self.metadata = opening.metadata

    async def chunks(self) -> AsyncIterator[bytes]:
        """Yield the bytes, once; raises `StorageUnavailable` if any are missing."""
        clock = asyncio.get_running_loop().time
        last = self._at + self.size - 1
        span = self.size
        window, self._window = self._window, None
        while window is not None:
            self._at += window.size
            began = clock()
            for piece in window.pieces:
                yield piece
            window = None
            if self._at <= last:
                is_slow = clock() - began >= PARKED_SECONDS
                size = SLOW_WINDOW_BYTES if is_slow else WINDOW_BYTES
                span = size if is_slow else min(span * 2, self.size)
                window = await self._windows.fetch(
                    self._key,
                    self._etag,
                    ByteRange(self._at, last),
                    span=span,
                    size=size,
                )

    def close(self) -> None:
        """Leave nothing open for a reader who has gone."""
        if self._window is not None:
            self._at += self._window.size
            self._window = None
        self._windows.give_up(self._key, self._etag, self._at)


def _first(byte_range: ByteRange | None) -> int:
    return 0 if byte_range is None else byte_range.first


def _end(at: int, size: int) -> int:
    """Return the last byte of the window of *size* that *at* lies in."""
    return at + size - at % size - 1
