"""The port to what the replicas share about prompts: entries and leases.

Records and failures are opaque bytes here. Every method raises
`CacheUnavailable` when the cache is unavailable; "nothing there" is an answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import timedelta
from typing import NamedTuple, Protocol


class CountedRecord(NamedTuple):
    """A record, and its hits with this one; None where it could not be counted."""

    record: bytes
    hits: int | None


@dataclass(frozen=True, slots=True)
class SeenRecord:
    """A record that was looked at without counting."""

    record: bytes
    hits: int
    last_accessed_ms: int | None


@dataclass(frozen=True, slots=True)
class Leading:
    """The lease is ours."""


@dataclass(frozen=True, slots=True)
class Following:
    """Another holder has the lease, under this token."""

    holder: str


@dataclass(frozen=True, slots=True)
class Painted:
    """An entry is there."""


@dataclass(frozen=True, slots=True)
class FailedBefore:
    """A failure is remembered for this much longer."""

    failure: bytes
    remaining: timedelta


Holding = Leading | Following
"""Whether the lease is ours."""

Verdict = Leading | Following | Painted | FailedBefore
"""The verdict on a prompt without an entry."""


class PromptIndex(Protocol):
    """Entries by prompt hash, and who may write about them."""

    @property
    def doubts(self) -> int:
        """Return how often the cache may have come back older since the start.

        An entry is believed again once its manifest was seen to name it.
        """
        ...

    async def look_up(self, prompt_hash: str, now_ms: int) -> CountedRecord | None:
        """Return the record of a prompt and count the hit, in one step."""
        ...

    async def peek(self, prompt_hashes: Sequence[str]) -> list[SeenRecord | None]:
        """Return records in order, without counting."""
        ...

    async def acquire(
        self, prompt_hash: str, token: str, lease_for: timedelta
    ) -> Verdict:
        """Take the lease for a painting, unless there is nothing to paint.

        The same *token* may acquire again: a lost reply does not lock its sender out.
        """
        ...

    async def hold(
        self,
        prompt_hash: str,
        token: str,
        lease_for: timedelta,
        *,
        frees: bool = False,
    ) -> Holding:
        """Take or renew the lease, whatever is known of the prompt.

        One that *frees* memory in the end is had from a full cache, too.
        """
        ...

    async def renew(self, prompt_hash: str, token: str, lease_for: timedelta) -> bool:
        """Renew the lease; False where it is not ours any more, vacant or not."""
        ...

    async def holder(self, prompt_hash: str) -> str | None:
        """Return the token of the lease's holder, or None."""
        ...

    async def keep_job(
        self, prompt_hash: str, token: str, job: bytes, keep_for: timedelta
    ) -> bool:
        """Keep the provider's job of a painting, in place of any other.

        False where the lease is lost. Whatever ends the painting removes it:
        `commit`, `fail` and `forget`.
        """
        ...

    async def job(self, prompt_hash: str) -> bytes | None:
        """Return the job that a leader has left, or None."""
        ...

    async def drop_job(self, prompt_hash: str, token: str) -> None:
        """Remove the job that a leader has left, if the lease is ours."""
        ...

    async def commit(self, prompt_hash: str, token: str, record: bytes) -> bool:
        """Write the entry, notify followers, release; False if the lease is lost."""
        ...

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
        """Remember a failure, notify the followers, release.

        Where it *is_hold* it outlasts `forget`. The job goes with it, unless
        the next leader shall fetch what it has made (*keeps_job*). False where
        the lease is lost.
        """
        ...

    async def note(
        self, prompt_hash: str, token: str, failure: bytes, remember_for: timedelta
    ) -> bool:
        """Remember a failure for those who ask, and keep the lease.

        False where the lease is lost.
        """
        ...

    async def release(self, prompt_hash: str, token: str) -> None:
        """Publish the end to followers and release the lease if it is still ours."""
        ...

    async def remembered(self, prompt_hash: str) -> FailedBefore | None:
        """Return the failure that is remembered for a prompt, or None."""
        ...

    async def forget(self, prompt_hash: str, token: str, left: bytes) -> bool:
        """Remove entry, hits, failure and job, and keep *left*, in one step.

        A hold stays. *left* is what a purge has still to remove. False where the
        lease is lost: then nothing has changed.
        """
        ...

    async def left(self, prompt_hash: str) -> bytes | None:
        """Return the note that an interrupted purge has left, or None."""
        ...

    async def finish(self, prompt_hash: str, token: str) -> None:
        """Delete `left`, if the lease is still ours: the purge is complete."""
        ...

    async def withdraw(self, prompt_hash: str, token: str) -> bool:
        """Delete the entry that is about to be replaced; its hits stay.

        False where the lease is lost: then it is still there.
        """
        ...

    async def mark_refresh(
        self, prompt_hash: str, mark: bytes, keep_for: timedelta
    ) -> None:
        """Keep what the last refresh of a prompt says of itself."""
        ...

    async def refresh_mark(self, prompt_hash: str) -> bytes | None:
        """Return the mark of the last refresh, or None."""
        ...

    async def drop(self, prompt_hash: str, record: bytes) -> bool:
        """Remove the entry if it still is *record*; its hits stay."""
        ...

    async def drop_with_hits(self, prompt_hash: str, record: bytes) -> bool:
        """Remove the entry and its hits if it still is *record*."""
        ...


class Completion(Protocol):
    """The completion events of one prompt. A hint: each may be lost."""

    async def wait(self, max_seconds: float) -> None:
        """Return when there was an event since the last call, or the time is up."""
        ...


class CompletionEvents(Protocol):
    """Events of flights that ended, on any replica."""

    def expect(self, prompt_hash: str) -> AbstractContextManager[Completion]:
        """Collect the events of a prompt as long as the context is open."""
        ...
