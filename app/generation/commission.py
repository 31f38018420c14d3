"""Commission: what one painting takes with it, from model to model."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from app.generation.jobs import JobKeeper, Unkept
from app.generation.painting import Progress
from app.generation.spending import UNLIMITED, PaintingPermit

if TYPE_CHECKING:
    from app.generation.painting import ReferenceLoader
    from app.generation.provider import PaintRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class Commission:
    """One painting: the request, its deadline, its references, job and permit.

    *deadline* is a time of the event loop's clock, and bounds everything.
    *references* are read once a slot is free; *reference_count* says how many
    there are. *keeper* has the job that a former leader left. Where it *may* not
    *begin*, only that job is waited for.
    """

    request: PaintRequest
    deadline: float
    progress: Progress = field(default_factory=Progress)
    references: ReferenceLoader | None = None
    reference_count: int = 0
    keeper: JobKeeper = field(default_factory=Unkept)
    permit: PaintingPermit = UNLIMITED
    may_begin: bool = True
