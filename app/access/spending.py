"""Spending: every paid call is reserved, written down, and settled."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from datetime import UTC, datetime, time, timedelta
from typing import TYPE_CHECKING, Any

from app.access import money
from app.access.books import Book, Entry
from app.errors import BudgetExhausted
from app.generation.spending import UNLIMITED
from app.storage.ports.allowances import Account

if TYPE_CHECKING:
    from datetime import date

    from app.access.books import Books
    from app.access.projects import ProjectRules
    from app.generation.painting import Outcome
    from app.generation.spending import PaidCall
    from app.storage.ports.allowances import Balance
    from app.storage.ports.documents import Documents
    from app.storage.storage_key import Project

logger = logging.getLogger(__name__)

# Beyond the day itself, for calls that are settled late and for questions.
_KEPT_FOR = timedelta(days=3)


def today() -> date:
    """Return the day of UTC: a budget's day."""
    return datetime.now(UTC).date()


def end_of(day: date) -> datetime:
    """Return when a budget's day ends."""
    return datetime.combine(day + timedelta(days=1), time(), UTC)


def day_book(project: Project, day: date, budget: float = 0) -> Book:
    """Return what *project* spends on *day*; 0 is no budget."""
    return Book(
        Account(f"spend:{project}:{day}", keep_for=_KEPT_FOR),
        f"spend/{project}/{day}/",
        money.to_units(budget) if budget else None,
    )


class SpendJournal:
    """What every project spends, and spent on any day."""

    def __init__(
        self, books: Books, documents: Documents, *, settle_within: timedelta
    ) -> None:
        self.books = books
        self._documents = documents
        self.settle_within = settle_within

    async def balance(self, project: Project) -> Balance:
        """Return what a project has spent, and reserved, today."""
        return await self.books.balance(day_book(project, today()))

    async def calls(self, project: Project, day: date) -> list[dict[str, Any]]:
        """Return the paid calls of a day in the order in which they began."""
        calls = []
        async for name in self._documents.names(day_book(project, day).prefix):
            fields = await self._documents.read(name)
            if fields is not None:
                calls.append(fields)
        return sorted(calls, key=lambda call: call["at"])


@dataclass
class PaintingSpending:
    """What one painting spends; each of its calls is an entry in the journal."""

    journal: SpendJournal
    project: Project
    rules: ProjectRules
    generation_id: str
    _calls: int = field(default=0, init=False)

    async def begin(self, model: str, price: float) -> PaidCall:
        """Reserve *price*, and write down that a call is about to be made."""
        units = money.to_units(price)
        if not units:
            return await UNLIMITED.begin(model, price)
        self._calls += 1
        began_at = datetime.now(UTC)
        call = JournaledCall(
            self.journal,
            Entry(
                day_book(self.project, began_at.date(), self.rules.budget_per_day),
                f"{self.generation_id}_{self._calls}",
                units,
            ),
            {
                "generation_id": self.generation_id,
                "at": began_at.isoformat(),
                "amount": money.from_units(units),
                "model": model,
                "outcome": "open",
            },
        )
        await self.journal.books.enter(
            call.entry,
            call.fields,
            settle_within=self.journal.settle_within,
            refusal=self._exhausted,
        )
        return call

    def resume(self, model: str, price: float, reference: str) -> PaidCall:
        """Return the call that a former leader wrote down."""
        found = JournaledCall.of(self.journal, self.project, model, reference)
        return found or UNLIMITED.resume(model, price, reference)

    def _exhausted(self) -> BudgetExhausted:
        return BudgetExhausted(
            "The project's budget for today is spent.",
            payer=("project", str(self.project)),
            retry_after=end_of(today()) - datetime.now(UTC),
        )


@dataclass(frozen=True, slots=True)
class JournaledCall:
    """One call: its entry in the journal, and what is written of it."""

    journal: SpendJournal
    entry: Entry
    fields: dict[str, Any]

    @property
    def reference(self) -> str:
        """The name of its document, and when it began."""
        return f"{self.fields['at']} {self.entry.document}"

    @classmethod
    def of(
        cls, journal: SpendJournal, project: Project, model: str, reference: str
    ) -> JournaledCall | None:
        """Return the call of *reference*, None for what is none of *project*."""
        at, _, document = reference.partition(" ")
        try:
            day = datetime.fromisoformat(at).date()
            book = day_book(project, day)
            item, units = book.item_of(document)
        except ValueError:
            return None
        if not document.startswith(book.prefix):
            return None
        fields = {
            "generation_id": item.partition("_")[0],
            "at": at,
            "amount": money.from_units(units),
            "model": model,
            "outcome": "open",
        }
        return cls(journal, Entry(book, item, units), fields)

    async def settle(self, outcome: Outcome, amount: float) -> None:
        """Write down how the call ended, or that it cost nothing."""
        fields = {**self.fields, "outcome": str(outcome)} if amount else None
        await self.journal.books.settle(self.entry, fields)
