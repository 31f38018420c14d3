"""Assignment: what a leader is to paint, and what it holds for that."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from app.generation.spending import Permit
    from app.prompt_cache.entry.ledger import Manifest
    from app.prompt_cache.entry.prompt_key import PromptKey
    from app.prompt_cache.flight.flight import Flight
    from app.prompt_cache.flight.leases import Lease
    from app.prompt_cache.flight.result import FlightResult


@dataclass(frozen=True, slots=True, kw_only=True)
class Assignment:
    """One painting of a leader: the prompt, its flight, its lease and its permit.

    *replacing* is the manifest that was read before; *is_served* says that its
    picture is there, and that its entry goes on until the new one is committed.
    Where it *may* not *begin*, only a job that was left is waited for.
    """

    key: PromptKey
    flight: Flight[FlightResult]
    lease: Lease
    permit: Permit
    replacing: Manifest | None = None
    is_served: bool = False
    may_begin: bool = True

    @property
    def replaces(self) -> str | None:
        """The id of the picture that is replaced while it is served."""
        seen = self.replacing.entry if self.replacing else None
        return seen.image_id if seen and self.is_served else None
