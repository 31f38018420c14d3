"""The result of a flight."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from app.generation.usage import Usage
    from app.prompt_cache.entry.entry import PromptEntry


@dataclass(slots=True)
class FlightResult:
    """The result of a flight; *data* to *usage* only where it painted.

    The first waiter to `claim` a painting is its MISS; for the others it is
    another's, and a hit. *is_adopted* says that another leader's picture won.
    """

    entry: PromptEntry
    data: bytes | None = None
    generation_id: str | None = None
    usage: Usage | None = None
    is_adopted: bool = False
    is_claimed: bool = False

    @property
    def is_painted(self) -> bool:
        """Whether this flight painted the picture, rather than found it."""
        return self.generation_id is not None

    @property
    def was_painting(self) -> bool:
        """Whether its waiters waited for a painting, by whomever."""
        return self.is_painted or self.is_adopted

    def claim(self) -> bool:
        """Return whether the caller is the first to ask."""
        is_first, self.is_claimed = not self.is_claimed, True
        return is_first
