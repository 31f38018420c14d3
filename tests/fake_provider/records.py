"""Records of the fake provider: calls as they arrived, and running jobs."""

from __future__ import annotations

import asyncio
import dataclasses
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.fake_provider.behaviour import Behaviour


@dataclass(slots=True)
class Call:
    """One request as it arrived; times are of the wall clock.

    *prompt* is empty for requests that have none. *files* are the pictures inside the
    body; each has `data` and `content_type`.
    """

    number: int
    method: str
    path: str
    headers: dict[str, str]
    dialect: str = ""
    prompt: str = ""
    body: dict[str, Any] = field(default_factory=dict)
    files: list[dict[str, Any]] = field(default_factory=list)
    mode: str = "ok"
    started_at: float = field(default_factory=time.time)
    ended_at: float | None = None
    aborted: bool = False
    picture: bytes = b""
    stumbles: list[str] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """Return the call as `GET /_calls` lists it."""
        document = dataclasses.asdict(self)
        document.pop("picture")
        for file in document["files"]:
            file["size"] = len(file.pop("data"))
        return document


@dataclass(slots=True)
class Job:
    """A painting that its vendor does in the background.

    *outcome* makes its final document. *faults* are modes, each of which spoils one
    poll.
    """

    id: str
    call: Call
    behaviour: Behaviour
    outcome: Callable[[Job], Any]
    faults: list[str]
    fetches: list[str]
    fetched: list[dict[str, Any]] = field(default_factory=list)
    polls: int = 0
    is_cancelled: bool = False
    released: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def is_done(self) -> bool:
        """Whether the job has been polled often enough and is not held."""
        return self.released.is_set() and self.polls > self.behaviour.polls

    @property
    def has_ended(self) -> bool:
        """Whether the job can no longer be cancelled."""
        return self.is_done and self.call.mode != "unknown_status"

    @property
    def fraction(self) -> float:
        """Return the job's progress as its vendor reports it."""
        return min(1.0, self.polls / (self.behaviour.polls + 1))

    def as_json(self) -> dict[str, Any]:
        """Return the job as `GET /_jobs` lists it."""
        return {
            "id": self.id,
            "number": self.call.number,
            "dialect": self.call.dialect,
            "prompt": self.call.prompt,
            "polls": self.polls,
            "is_done": self.is_done,
            "is_cancelled": self.is_cancelled,
            "fetched": self.fetched,
        }
