"""Counted permits: what a call costs is in the statistics as soon as it is open.

The journal has a call before it goes out, and so have the statistics: those of a
replica that is killed meanwhile say the same as the bill. A call that turns out
to be free is taken back.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from app.generation.painting import CallOutcome
    from app.generation.spending import JournalEntry, PaintingPermit
    from app.prompt_cache.statistics import Statistics
    from app.storage.storage_key import Project


@dataclass(frozen=True, slots=True)
class CountedPermit:
    """A `PaintingPermit` of *project* whose calls are in its statistics."""

    permit: PaintingPermit
    statistics: Statistics
    project: Project

    async def begin(self, model: str, price: float) -> JournalEntry:
        """Reserve *price*, and count it before the call goes out."""
        entry = await self.permit.begin(model, price)
        self.statistics.spent(str(self.project), price)
        await self.statistics.apply_if_possible()
        return _CountedEntry(entry, self, price)

    def resume(self, model: str, price: float, reference: str) -> JournalEntry:
        """Return the call that a former leader began, and counted."""
        entry = self.permit.resume(model, price, reference)
        return _CountedEntry(entry, self, price)


@dataclass(frozen=True, slots=True)
class _CountedEntry:
    entry: JournalEntry
    counted: CountedPermit
    price: float

    @property
    def reference(self) -> str:
        """The name of the reservation."""
        return self.entry.reference

    async def settle(self, outcome: CallOutcome, amount: float) -> None:
        """Note how the call ended; one that cost nothing is taken back."""
        await self.entry.settle(outcome, amount)
        if not amount:
            project = str(self.counted.project)
            self.counted.statistics.spent(project, -self.price)
