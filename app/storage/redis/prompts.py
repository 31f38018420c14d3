"""`PromptIndex` in Redis: entries, leases and remembered failures."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, cast

from app.errors import CacheUnavailable
from app.storage.ports.prompt_index import (
    CountedRecord,
    FailedBefore,
    Following,
    Holding,
    Leading,
    Painted,
    SeenRecord,
    Verdict,
)
from app.storage.redis import keys, scripts
from app.storage.redis.client.failures import CacheFull
from app.storage.redis.client.server_runs import ServerRuns

if TYPE_CHECKING:
    from app.storage.redis.client.connection import RedisConnection
    from app.storage.redis.client.script import Script

# An entry begins with the time of its last access: see `scripts`.
ACCESS_BYTES = 8


def access(at_ms: int) -> bytes:
    """Return the time that an entry begins with."""
    return at_ms.to_bytes(ACCESS_BYTES, "big")


class RedisPromptIndex:
    """Look-ups go over *commands*; leases and commits over connections of their own.

    A lease must be renewed while everything else waits for a breaker.
    """

    def __init__(
        self,
        *,
        commands: RedisConnection,
        leases: RedisConnection,
        runs: ServerRuns | None = None,
    ) -> None:
        self._commands = commands
        self._leases = leases
        self._runs = runs or ServerRuns()

    @property
    def doubts(self) -> int:
        """Return how often the cache may have come back older."""
        return self._runs.doubts

    async def look_up(self, prompt_hash: str, now_ms: int) -> CountedRecord | None:
        """Return the record and count the hit; uncounted where Redis has no memory.

        Never sent twice: an `INCR` whose reply was lost has counted.
        """
        found_at = keys.entry_and_hits(prompt_hash)
        try:
            found = await self._commands.run(
                scripts.LOOK_UP, found_at, [access(now_ms)], retry=False
            )
        except CacheFull:
            found = await self._commands.run(scripts.PEEK, found_at)
            return CountedRecord(found[0][ACCESS_BYTES:], None) if found else None
        return CountedRecord(found[0][ACCESS_BYTES:], found[1]) if found else None

    async def peek(self, prompt_hashes: Sequence[str]) -> list[SeenRecord | None]:
        """Return records in order, without counting."""
        return list(await asyncio.gather(*map(self._peek, prompt_hashes)))

    async def _peek(self, prompt_hash: str) -> SeenRecord | None:
        found = await self._commands.run(scripts.PEEK, keys.entry_and_hits(prompt_hash))
        if not found:
            return None
        entry, hits = found
        last_accessed_ms = int.from_bytes(entry[:ACCESS_BYTES], "big")
        return SeenRecord(
            entry[ACCESS_BYTES:], int(hits or 0), last_accessed_ms or None
        )

    async def acquire(
        self, prompt_hash: str, token: str, lease_for: timedelta
    ) -> Verdict:
        """Take the lease for a painting, unless there is nothing to paint."""
        verdict = await self._write(
            scripts.ACQUIRE,
            [
                keys.entry(prompt_hash),
                keys.failure(prompt_hash),
                keys.lease(prompt_hash),
                keys.hold(prompt_hash),
            ],
            [token, _milliseconds(lease_for)],
        )
        match verdict:
            case [b"lead"]:
                return Leading()
            case [b"painted"]:
                return Painted()
            case [b"follow", holder]:
                return Following(holder.decode())
            case [b"failed", failure, remaining_ms]:
                return FailedBefore(failure, timedelta(milliseconds=remaining_ms))
        raise AssertionError(verdict)

    async def hold(
        self,
        prompt_hash: str,
        token: str,
        lease_for: timedelta,
        *,
        frees: bool = False,
    ) -> Holding:
        """Take or renew the lease, whatever is known of the prompt."""
        holder = await self._write(
            scripts.HOLD_TO_FREE if frees else scripts.HOLD,
            [keys.lease(prompt_hash)],
            [token, _milliseconds(lease_for)],
        )
        return Following(holder.decode()) if holder else Leading()

    async def renew(self, prompt_hash: str, token: str, lease_for: timedelta) -> bool:
        """Renew the lease; False where it is not ours any more."""
        renewed = await self._write(
            scripts.RENEW, [keys.lease(prompt_hash)], [token, _milliseconds(lease_for)]
        )
        return bool(renewed)

    async def holder(self, prompt_hash: str) -> str | None:
        """Return the token of the lease's holder, or None."""
        found = await self._commands.execute("GET", keys.lease(prompt_hash))
        return None if found is None else found.decode()

    async def keep_job(
        self, prompt_hash: str, token: str, job: bytes, keep_for: timedelta
    ) -> bool:
        """Keep the provider's job of a painting, in place of any other."""
        kept = await self._write(
            scripts.KEEP_JOB,
            [keys.lease(prompt_hash), keys.job(prompt_hash)],
            [token, job, _milliseconds(keep_for)],
        )
        return bool(kept)

    async def job(self, prompt_hash: str) -> bytes | None:
        """Return the job that a leader has left, or None."""
        found = await self._commands.execute("GET", keys.job(prompt_hash))
        return cast("bytes | None", found)

    async def drop_job(self, prompt_hash: str, token: str) -> None:
        """Remove the job that a leader has left, if the lease is ours."""
        await self._write(
            scripts.DROP_JOB, [keys.lease(prompt_hash), keys.job(prompt_hash)], [token]
        )

    async def commit(self, prompt_hash: str, token: str, record: bytes) -> bool:
        """Write the entry, tell the followers, release; False if the lease is lost."""
        committed = await self._write(
            scripts.COMMIT,
            [
                keys.entry(prompt_hash),
                keys.failure(prompt_hash),
                keys.lease(prompt_hash),
                keys.job(prompt_hash),
            ],
            [token, record, keys.LANDED, prompt_hash],
        )
        return bool(committed)

    async def fail(
        self,
        prompt_hash: str,
        token: str,
        failure: bytes,
        remember_for: timedelta,
        *,
        is_hold: bool = False,
        keeps_job: bool = False,
    ) -> bool:
        """Remember a failure, tell the followers, release."""
        remembered_at = keys.hold if is_hold else keys.failure
        noted = await self._write(
            scripts.FAIL,
            [
                remembered_at(prompt_hash),
                keys.lease(prompt_hash),
                *(() if keeps_job else (keys.job(prompt_hash),)),
            ],
            [token, failure, _milliseconds(remember_for), keys.LANDED, prompt_hash],
        )
        return bool(noted)

    async def note(
        self, prompt_hash: str, token: str, failure: bytes, remember_for: timedelta
    ) -> bool:
        """Remember a failure for those who ask, and keep the lease."""
        noted = await self._write(
            scripts.NOTE,
            [keys.failure(prompt_hash), keys.lease(prompt_hash)],
            [token, failure, _milliseconds(remember_for)],
        )
        return bool(noted)

    async def release(self, prompt_hash: str, token: str) -> None:
        """Notify the followers and release the lease if it is still ours."""
        await self._write(
            scripts.RELEASE,
            [keys.lease(prompt_hash)],
            [token, keys.LANDED, prompt_hash],
        )

    async def remembered(self, prompt_hash: str) -> FailedBefore | None:
        """Return the failure that is remembered for a prompt, or None."""
        found = await self._commands.run(
            scripts.REMEMBERED, [keys.failure(prompt_hash), keys.hold(prompt_hash)]
        )
        return (
            FailedBefore(found[0], timedelta(milliseconds=found[1])) if found else None
        )

    async def forget(self, prompt_hash: str, token: str, left: bytes) -> bool:
        """Remove entry, hits and failure, and keep *left*, in one step."""
        forgotten = await self._write(
            scripts.FORGET,
            [
                *keys.entry_and_hits(prompt_hash),
                keys.failure(prompt_hash),
                keys.lease(prompt_hash),
                keys.left(prompt_hash),
                keys.job(prompt_hash),
            ],
            [token, left],
        )
        return bool(forgotten)

    async def left(self, prompt_hash: str) -> bytes | None:
        """Return the note that an interrupted purge has left, or None."""
        found = await self._commands.execute("GET", keys.left(prompt_hash))
        return cast("bytes | None", found)

    async def finish(self, prompt_hash: str, token: str) -> None:
        """Remove `left`, if the lease is still ours."""
        await self._write(
            scripts.FINISH, [keys.left(prompt_hash), keys.lease(prompt_hash)], [token]
        )

    async def withdraw(self, prompt_hash: str, token: str) -> bool:
        """Remove the entry that is about to be replaced; its hits stay."""
        withdrawn = await self._write(
            scripts.WITHDRAW,
            [keys.entry(prompt_hash), keys.lease(prompt_hash)],
            [token],
        )
        return bool(withdrawn)

    async def mark_refresh(
        self, prompt_hash: str, mark: bytes, keep_for: timedelta
    ) -> None:
        """Keep what the last refresh of a prompt says of itself."""
        try:
            await self._leases.execute(
                "SET", keys.refresh(prompt_hash), mark, "PX", _milliseconds(keep_for)
            )
        except CacheFull as error:
            raise CacheUnavailable("The cache is full.") from error

    async def refresh_mark(self, prompt_hash: str) -> bytes | None:
        """Return the mark of the last refresh, or None."""
        found = await self._leases.execute("GET", keys.refresh(prompt_hash))
        return cast("bytes | None", found)

    async def drop(self, prompt_hash: str, record: bytes) -> bool:
        """Remove the entry if it still is *record*; its hits stay."""
        found_at = keys.entry_and_hits(prompt_hash)[:1]
        return bool(await self._write(scripts.DROP, found_at, [record]))

    async def drop_with_hits(self, prompt_hash: str, record: bytes) -> bool:
        """Remove the entry and its hits if it still is *record*."""
        found_at = keys.entry_and_hits(prompt_hash)
        return bool(await self._write(scripts.DROP, found_at, [record]))

    async def _write(
        self, script: Script, script_keys: Sequence[str], args: list[str | bytes | int]
    ) -> Any:
        try:
            return await self._leases.run(script, script_keys, args)
        except CacheFull as error:
            # No lease can be had, so nothing may be painted: as in an outage.
            raise CacheUnavailable("The cache is full.") from error


def _milliseconds(duration: timedelta) -> int:
    return max(1, round(duration.total_seconds() * 1000))
