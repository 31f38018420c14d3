"""Transient images in Redis: the accounts in one slot, the bytes in many.

An upload is four steps, because a Cluster has no transaction over two slots:

1. *Reserve*: both quotas are checked and the picture is counted as pending,
   with a deadline.
2. *Store*: the bytes are set, to vanish by themselves at that deadline.
3. *Settle*: the bytes get their own time to live, or none.
4. *Confirm*: the picture is listed; it counts as live.

A crash in between leaves a reservation that runs out: the first script
that reads the accounts after the deadline refunds it, and the sweeper discards
the bytes. Bytes that arrive later than the deadline vanish on arrival, so
there is no order of events that leaks one or the other.

Removal is: the bytes are refunded and the id gets a tombstone, the bytes
are unlinked, the tombstone is removed. After a crash in between the rest is done by
the sweeper. An expired picture is taken out of the accounts in the millisecond in
which Redis stops to serve its bytes, by whatever script looks first.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from app.background import in_steps
from app.errors import CacheUnavailable
from app.storage.ports.transient_store import (
    Described,
    Inventory,
    QuotaReached,
    StoredImage,
)
from app.storage.redis import keys, transient_scripts
from app.storage.redis.client.failures import CacheFull

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from app.storage.ports.transient_store import Quota
    from app.storage.redis.client.connection import RedisConnection
    from app.storage.redis.client.script import Script

logger = logging.getLogger(__name__)

# Above all time-outs of the four steps together.
FINISH_WITHIN = timedelta(seconds=30)
# As many as `app.image.sniff` looks at.
HEAD_BYTES = 64
SWEPT_AT_ONCE = 500
# Of the connection's slots; thousands of ids must not take them all.
UNLINKED_AT_ONCE = 8

# While so many pictures are due that a script does nothing but take them out.
_AGAIN = b"again"
_MAX_BATCHES = 1000

# Up to here a part of a picture may stand before another's on one connection.
MAX_SLICE_BYTES = 262_144


class RedisTransientStore:
    """The store; an upload that is not done after *finish_within* is undone."""

    def __init__(
        self,
        *,
        commands: RedisConnection,
        slices: RedisConnection,
        blobs: RedisConnection,
        finish_within: timedelta = FINISH_WITHIN,
    ) -> None:
        self._commands = commands
        self._slices = slices
        self._blobs = blobs
        self._finish_within = finish_within

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
        try:
            reply = await self._account(
                transient_scripts.RESERVE,
                image_id,
                project,
                len(data),
                media_type,
                0 if ttl is None else _milliseconds(ttl),
                _milliseconds(self._finish_within),
                quota.in_project,
                -1 if quota.in_all is None else quota.in_all,
                quota.pictures,
            )
            if isinstance(reply, bytes):
                return QuotaReached(reply)
            created, deadline, expires = map(int, reply)
            await self._store(image_id, data, deadline, expires)
        except CacheFull:
            await self._undo(project, image_id)
            return QuotaReached.IN_CACHE
        except BaseException:
            # The caller may have been cancelled, or a reply been lost.
            await self._undo(project, image_id)
            raise
        return StoredImage(image_id, len(data), media_type, created, expires or None)

    async def describe(self, image_id: str) -> Described | None:
        """Return the size and the first bytes, or None if nothing is there."""
        size, head = await self._commands.run(
            transient_scripts.DESCRIBE,
            [keys.transient_bytes(image_id)],
            [HEAD_BYTES - 1],
        )
        return Described(size, head) if size else None

    async def read(self, image_id: str, first: int, last: int) -> bytes:
        """Return the bytes from *first* to *last*; fewer where they are gone."""
        is_slice = 0 <= last - first < MAX_SLICE_BYTES
        data: bytes = await (self._slices if is_slice else self._blobs).execute(
            "GETRANGE", keys.transient_bytes(image_id), first, last
        )
        return data

    async def forget(
        self, project: str, image_ids: Sequence[str], *, media_type: str | None = None
    ) -> int:
        """Remove what *project* has of *image_ids*; return how many those were."""
        if not image_ids:
            return 0
        out, left = await self._account(
            transient_scripts.FORGET, project, media_type or "", *image_ids
        )
        await self._discard([*out, *left])
        return len(out)

    async def inventory(self, project: str) -> Inventory:
        """Return the pictures of a project and their bytes, at one moment."""
        now, used, *flat = await self._account(transient_scripts.INVENTORY, project)
        pairs = list(zip(flat[::2], flat[1::2], strict=True))
        images = await in_steps(_stored, pairs)
        return Inventory(tuple(images), used, now)

    async def digests(
        self, project: str, image_ids: Sequence[str]
    ) -> Mapping[str, bytes]:
        """Return the noted digests of those of *image_ids* that *project* has."""
        flat = await self._account(transient_scripts.DIGESTS, project, *image_ids)
        names = (image_id.decode() for image_id in flat[::2])
        return dict(zip(names, flat[1::2], strict=True))

    async def note_digest(self, image_id: str, digest: bytes) -> None:
        """Keep *digest* for as long as the picture is there."""
        # Where Redis is full it is worked out again the next time.
        with suppress(CacheFull):
            await self._account(transient_scripts.NOTE_DIGEST, image_id, digest)

    async def sweep(self) -> int:
        """Discard bytes whose time is up; return how many pictures those were."""
        tombstones = await self._account(transient_scripts.SWEEP, SWEPT_AT_ONCE)
        await self._discard(tombstones)
        return len(tombstones)

    async def _store(
        self, image_id: str, data: bytes, deadline: int, expires: int
    ) -> None:
        key = keys.transient_bytes(image_id)
        await self._blobs.execute("SET", key, data, "PXAT", deadline)
        settled = await self._commands.run(transient_scripts.SETTLE, [key], [expires])
        if not settled or not await self._account(transient_scripts.CONFIRM, image_id):
            raise CacheUnavailable("The upload could not be stored in time.")

    async def _undo(self, project: str, image_id: str) -> None:
        try:
            await self.forget(project, [image_id])
        except CacheUnavailable:
            logger.warning("upload left to the sweeper")

    async def _discard(self, image_ids: Sequence[bytes]) -> None:
        if not image_ids:
            return
        # One command each: their keys lie in different slots.
        waiting = iter(image_ids)

        async def unlink() -> None:
            for image_id in waiting:
                key = keys.transient_bytes(image_id.decode())
                await self._commands.execute("UNLINK", key)

        lanes = min(UNLINKED_AT_ONCE, len(image_ids))
        ends = await asyncio.gather(
            *(unlink() for _ in range(lanes)), return_exceptions=True
        )
        for end in ends:
            if end is not None:
                raise end
        await self._commands.execute("ZREM", keys.TRANSIENT_TOMBSTONES, *image_ids)

    async def _account(self, script: Script, *args: str | int | bytes) -> Any:
        for _ in range(_MAX_BATCHES):
            reply = await self._commands.run(script, keys.TRANSIENT_ACCOUNTS, args)
            if reply != _AGAIN:
                return reply
        raise CacheUnavailable("More pictures expire than the cache can take out.")


def _stored(pair: tuple[bytes, bytes]) -> StoredImage:
    image_id, record = pair
    size, created, expires, media_type, _ = record.decode().split(" ")
    return StoredImage(
        image_id.decode(), int(size), media_type, int(created), int(expires) or None
    )


def _milliseconds(duration: timedelta) -> int:
    return max(1, round(duration.total_seconds() * 1000))
