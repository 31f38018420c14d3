"""Records of generations, for callers that do not wait.

A record informs, and decides nothing: it is written while Redis is there, and forgotten
an hour after its generation ended, or a minute after one that never ran.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import orjson

from app import urls
from app.errors import (
    CallEnd,
    GenerationDisabled,
    GenerationError,
    GenerationTimedOut,
    ServiceError,
    Unavailable,
)
from app.storage.storage_key import Project
from app.telemetry import REQUEST_ID

if TYPE_CHECKING:
    from app.storage.storage_key import StorageKey

REMEMBERED_FOR = timedelta(hours=1)
# Shorter: they may come in great numbers, and no caller has waited for them.
NEVER_RAN_REMEMBERED_FOR = timedelta(minutes=1)


@dataclass(slots=True)
class GenerationRecord:
    """One generation: *state* is queued, running, done or failed.

    *replaces* is the id of the picture that a refresh is to replace.
    """

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
    replaces: str | None = None

    @property
    def has_ended(self) -> bool:
        """Whether nothing more will come."""
        return self.state in {"done", "failed"}

    @property
    def shown_position(self) -> int | None:
        """The number of turns until it is painted, from 1; None unless queued."""
        # Before it has asked for its position, it is the next as far as it knows.
        return (self.queue_position or 1) if self.state == "queued" else None

    @property
    def event_id(self) -> str:
        """The id that sets this state apart from every other one of it."""
        details = (self.shown_position, self.progress)
        known = [str(detail) for detail in details if detail is not None]
        return "-".join([self.state, *known])

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

    def end(
        self, image: tuple[str, StorageKey] | None, error: BaseException | None
    ) -> None:
        """Note how it ended: with a picture's id and where it lies, or a failure."""
        self.state = "done" if image else "failed"
        self.queue_position = None
        self.elapsed_seconds = _seconds_since(self.created_at)
        if image is not None:
            self.image_id, storage_key = image
            self.image_url = urls.permalink(storage_key)
        else:
            self.error = _as_kept(error)

    def to_bytes(self) -> bytes:
        """Return the bytes that Redis keeps; fields without a value are left out."""
        fields = asdict(self).items()
        return orjson.dumps(
            {name: value for name, value in fields if value is not None}
        )

    @classmethod
    def from_bytes(cls, data: bytes) -> GenerationRecord:
        """Read the form of `to_bytes`."""
        fields = orjson.loads(data)
        fields["created_at"] = datetime.fromisoformat(fields["created_at"])
        return cls(**fields)


@dataclass(frozen=True, slots=True)
class OpenGeneration:
    """A generation that has not ended, as all replicas know of it."""

    generation_id: str
    prompt_hash: str
    project: Project

    def __str__(self) -> str:
        return f"{self.generation_id} {self.prompt_hash} {self.project}"

    @classmethod
    def of(cls, record: GenerationRecord) -> OpenGeneration:
        """Return the generation of *record*."""
        project = Project.parse(record.project)
        return cls(record.generation_id, record.prompt_hash, project)

    @classmethod
    def parse(cls, member: str) -> OpenGeneration:
        """Read the form of `str`."""
        generation_id, prompt_hash, project = member.split(" ")
        return cls(generation_id, prompt_hash, Project.parse(project))


def new_record(
    project: Project,
    prompt_hash: str,
    generation_id: str,
    *,
    replaces: str | None = None,
) -> GenerationRecord:
    """Return the record of a generation that begins now."""
    return GenerationRecord(
        generation_id,
        str(project),
        prompt_hash,
        datetime.now(UTC),
        replaces=replaces,
    )


def _seconds_since(moment: datetime) -> float:
    return (datetime.now(UTC) - moment).total_seconds()


def _as_kept(error: BaseException | None) -> dict[str, str]:
    """Return *error* as a record keeps it; one that is not ours cancelled it."""
    kept = {"kind": type(error).__name__, "request_id": REQUEST_ID.get() or ""}
    if isinstance(error, ServiceError):
        kept["detail"] = error.detail
    return kept


def never_ran(error: BaseException | None) -> bool:
    """Return whether *error* ended a generation before a provider was asked."""
    match error:
        case GenerationDisabled():
            return True
        case GenerationTimedOut():
            return error.end is CallEnd.CERTAIN
        case GenerationError() | Unavailable():
            return False
    return isinstance(error, ServiceError)
