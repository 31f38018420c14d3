"""How generations go, for whoever would rather ask than wait.

A record is news, not truth: it is written while Redis is there, and forgotten
an hour after its generation ended, or a minute after one that never ran.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Protocol

import orjson

from app import urls
from app.errors import (
    CacheUnavailable,
    CallEnd,
    GenerationDisabled,
    GenerationError,
    GenerationTimedOut,
    ServiceError,
    Unavailable,
)
from app.telemetry import REQUEST_ID

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from app.generation.painting import Progress
    from app.storage.storage_key import Project, StorageKey

REMEMBERED_FOR = timedelta(hours=1)
# So many of them may come at once, and nobody has waited for them.
NEVER_RAN_REMEMBERED_FOR = timedelta(minutes=1)
LOOK_EVERY_SECONDS = 0.1


class GenerationStore(Protocol):
    """Where every replica finds the records; raises `CacheUnavailable`."""

    async def put(self, generation_id: str, record: bytes, keep_for: timedelta) -> None:
        """Keep *record* for so long, and tell whoever expects news of it."""
        ...

    async def get(self, generation_id: str) -> bytes | None:
        """Return the record, or None."""
        ...


@dataclass(slots=True)
class GenerationRecord:
    """One generation: *state* is queued, running, done or failed."""

    generation_id: str
    project: str
    prompt_hash: str
    created_at: datetime
    state: str = "queued"
    queue_position: int | None = None
    progress: float | None = None
    elapsed_seconds: float | None = None
    image_id: str | None = None
    image_url: str | None = None
    error: dict[str, str] | None = None

    @property
    def has_ended(self) -> bool:
        """Whether nothing more will come."""
        return self.state in {"done", "failed"}

    @property
    def shown_position(self) -> int | None:
        """How many turns it is until it is painted, from 1; None unless queued."""
        # Before it has asked for its place, it is the next as far as it knows.
        return (self.queue_position or 1) if self.state == "queued" else None

    @property
    def event_id(self) -> str:
        """What tells this state from every other one of the generation."""
        details = (self.shown_position, self.progress)
        said = [str(detail) for detail in details if detail is not None]
        return "-".join([self.state, *said])

    def as_json(self) -> dict[str, Any]:
        """Return the record as the contract has it."""
        elapsed = self.elapsed_seconds
        if elapsed is None:
            elapsed = _seconds_since(self.created_at)
        return {
            "generation_id": self.generation_id,
            "state": self.state,
            "prompt_hash": self.prompt_hash,
            "created_at": self.created_at,
            "elapsed_seconds": round(max(0.0, elapsed), 3),
            "queue_position": self.shown_position,
            "progress": 1.0 if self.state == "done" else self.progress,
            "image_id": self.image_id,
            "image_url": self.image_url,
            "error": self.error,
        }

    def to_bytes(self) -> bytes:
        """Return what is kept: what is not known takes no room."""
        fields = asdict(self).items()
        return orjson.dumps(
            {name: value for name, value in fields if value is not None}
        )

    @classmethod
    def from_bytes(cls, data: bytes) -> GenerationRecord:
        """Read what `to_bytes` made."""
        fields = orjson.loads(data)
        fields["created_at"] = datetime.fromisoformat(fields["created_at"])
        return cls(**fields)


class Generations:
    """Writes and finds the records."""

    def __init__(self, store: GenerationStore, *, timeout: timedelta) -> None:
        self._store = store
        self._keep_for = timeout + REMEMBERED_FOR

    async def find(
        self, project: Project, generation_id: str
    ) -> GenerationRecord | None:
        """Return a project's own generation, or None."""
        found = await self._store.get(generation_id)
        record = GenerationRecord.from_bytes(found) if found else None
        return record if record and record.project == str(project) else None

    async def promise(
        self, project: Project, prompt_hash: str, generation_id: str
    ) -> None:
        """Write the record of a generation that somebody is told to ask for."""
        await self._write(new_record(project, prompt_hash, generation_id))

    @asynccontextmanager
    async def recorded(
        self, record: GenerationRecord, progress: Progress
    ) -> AsyncIterator[GenerationRecord]:
        """Write the record as it changes, as long as the context is open."""
        await self._write(record)
        done = asyncio.Event()
        watching = asyncio.create_task(
            self._watch(record, progress, done), name="generation-record"
        )
        try:
            yield record
        finally:
            # Not cancelled: a write on its way could arrive after the end's.
            done.set()
            await asyncio.wait([watching])

    async def end(
        self,
        record: GenerationRecord,
        *,
        image: tuple[str, StorageKey] | None = None,
        error: BaseException | None = None,
    ) -> None:
        """Write how the generation ended, once `recorded` is closed.

        *image* is the id of the picture and where it lies, None for a failure.
        """
        record.state = "done" if image else "failed"
        record.queue_position = None
        record.elapsed_seconds = _seconds_since(record.created_at)
        if image is not None:
            record.image_id, storage_key = image
            record.image_url = urls.permalink(storage_key)
        else:
            record.error = _told(error)
        keep_for = NEVER_RAN_REMEMBERED_FOR if _never_ran(error) else REMEMBERED_FOR
        await self._write(record, keep_for)

    async def _watch(
        self, record: GenerationRecord, progress: Progress, done: asyncio.Event
    ) -> None:
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK_EVERY_SECONDS):
                    await done.wait()
                return
            state = "running" if progress.is_running else "queued"
            seen = (state, progress.queue_position, progress.fraction)
            if seen != (record.state, record.queue_position, record.progress):
                record.state, record.queue_position, record.progress = seen
                await self._write(record)

    async def _write(
        self, record: GenerationRecord, keep_for: timedelta | None = None
    ) -> None:
        with suppress(CacheUnavailable):
            await self._store.put(
                record.generation_id, record.to_bytes(), keep_for or self._keep_for
            )


def new_record(
    project: Project, prompt_hash: str, generation_id: str
) -> GenerationRecord:
    """Return the record of a generation that begins now."""
    return GenerationRecord(generation_id, str(project), prompt_hash, datetime.now(UTC))


def _seconds_since(moment: datetime) -> float:
    return (datetime.now(UTC) - moment).total_seconds()


def _told(error: BaseException | None) -> dict[str, str]:
    """Return what is kept of an error; one that is not ours called it off."""
    told = {"kind": type(error).__name__, "request_id": REQUEST_ID.get() or ""}
    if isinstance(error, ServiceError):
        told["detail"] = error.detail
    return told


def _never_ran(error: BaseException | None) -> bool:
    """Say whether *error* ended a generation before anybody was asked to paint."""
    match error:
        case GenerationDisabled():
            return True
        case GenerationTimedOut():
            return error.end is CallEnd.CERTAIN
        case GenerationError() | Unavailable():
            return False
    return isinstance(error, ServiceError)
