"""The journal: every paid call is reserved, written down, and settled."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, time, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

from app.errors import BudgetExhausted
from app.generation.spending import UNLIMITED
from app.spending import money
from app.spending.accounts import document_of, item_of, prefix_of
from app.storage.ports.accounts import Account, Reservation

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from datetime import date

    from app.generation.painting import CallOutcome
    from app.generation.spending import JournalEntry
    from app.spending.accounts import Accounts
    from app.spending.projects import ProjectRules
    from app.storage.ports.accounts import Balance
    from app.storage.ports.documents import Documents, Fields
    from app.storage.storage_key import Project

logger = logging.getLogger(__name__)

MAX_CALLS = 1_000
_READS_AT_ONCE = 32

# In the reference of a call, before the picture of a scope's quota that it took.
QUOTA_MARK = "|"

# The outcome of a call that has no end yet.
_OPEN = "open"

# After the day: for calls that are settled late, and for balances.
_KEPT_FOR = timedelta(days=3)


def today() -> date:
    """Return the day of UTC: a budget's day."""
    return datetime.now(UTC).date()


def end_of(day: date) -> datetime:
    """Return when a budget's day ends."""
    return datetime.combine(day + timedelta(days=1), time(), UTC)


def account_of(project: Project, day: date) -> Account:
    """Return the account of what *project* spends on *day*."""
    return Account(f"spend/{project}/{day}", keep_for=_KEPT_FOR)


class Bill(NamedTuple):
    """A page of a day's calls; *total* is the day's, *cursor* None on the last."""

    calls: list[Fields]
    total: int
    cursor: str | None


class Journal:
    """The spend of every project, today and on any day."""

    def __init__(self, accounts: Accounts, documents: Documents) -> None:
        self.accounts = accounts
        self._documents = documents

    async def balance(self, project: Project) -> Balance:
        """Return the sums of today, of what a project has spent and has reserved."""
        return await self.accounts.balance(account_of(project, today()))

    async def is_open(self, call: Call) -> bool:
        """Return whether *call* is written down, and its end is not.

        Raises `StorageUnavailable`.
        """
        fields = await self._documents.read(document_of(call.reservation))
        return fields is not None and fields.get("outcome") == _OPEN

    async def bill(self, project: Project, day: date, *, after: str = "") -> Bill:
        """Return a page of a day's paid calls, in the order in which they began.

        A page begins *after* the cursor of another. The total is the day's: the
        names alone have the amounts.
        """
        account, total = account_of(project, day), 0
        page: list[str] = []
        has_more = False
        async for name in self._documents.names(prefix_of(account)):
            with suppress(ValueError):
                total += item_of(account, name)[1]
            if name.removeprefix(prefix_of(account)) > after:
                has_more = len(page) == MAX_CALLS
                page += [] if has_more else [name]
        at_once = asyncio.Semaphore(_READS_AT_ONCE)

        async def read(name: str) -> Fields | None:
            async with at_once:
                return await self._documents.read(name)

        found = await asyncio.gather(*map(read, page))
        calls = sorted(filter(None, found), key=lambda call: call["at"])
        cursor = page[-1].removeprefix(prefix_of(account)) if has_more else None
        return Bill(calls, total, cursor)


@dataclass
class ProjectPainting:
    """The permit of one painting; each of its calls is an entry in the journal."""

    journal: Journal
    project: Project
    rules: Callable[[], Awaitable[ProjectRules]]
    generation_id: str
    _calls: int = field(default=0, init=False)

    async def begin(self, model: str, price: float) -> JournalEntry:
        """Reserve *price*, and write down that a call is about to be made.

        *rules* are asked directly before each call, and may refuse it.
        """
        rules = await self.rules()
        units = money.to_units(price)
        if not units:
            return await UNLIMITED.begin(model, price)
        self._calls += 1
        began_at = datetime.now(UTC)
        budget = rules.budget_per_day
        call = Call(
            self.journal,
            Reservation(
                account_of(self.project, began_at.date()),
                f"{self.generation_id}_{self._calls}",
                units,
                limit=money.to_units(budget) if budget else None,
            ),
            {
                "generation_id": self.generation_id,
                "at": began_at.isoformat(),
                "amount": money.from_units(units),
                "model": model,
                "outcome": _OPEN,
            },
        )
        await self.journal.accounts.reserve(
            call.reservation,
            call.fields,
            refusal=self._exhausted,
        )
        return call

    def resume(self, model: str, price: float, reference: str) -> JournalEntry:
        """Return the call that a former leader wrote down."""
        found = Call.of(self.journal, self.project, model, reference)
        return found or UNLIMITED.resume(model, price, reference)

    def _exhausted(self) -> BudgetExhausted:
        return BudgetExhausted(
            "The project's budget for today is spent.",
            payer=("project", str(self.project)),
            retry_after=end_of(today()) - datetime.now(UTC),
        )


@dataclass(frozen=True, slots=True)
class Call:
    """The journal's entry of one call: its reservation, and what is written of it."""

    journal: Journal
    reservation: Reservation
    fields: dict[str, Any]

    @property
    def reference(self) -> str:
        """The name of its document, and when it began."""
        return f"{self.fields['at']} {document_of(self.reservation)}"

    @classmethod
    def of(
        cls, journal: Journal, project: Project, model: str, reference: str
    ) -> Call | None:
        """Return the call of *reference*, None for what is none of *project*."""
        at, _, document = reference.partition(QUOTA_MARK)[0].partition(" ")
        try:
            day = datetime.fromisoformat(at).date()
            account = account_of(project, day)
            item, units = item_of(account, document)
        except ValueError:
            return None
        if not document.startswith(prefix_of(account)):
            return None
        fields = {
            "generation_id": item.partition("_")[0],
            "at": at,
            "amount": money.from_units(units),
            "model": model,
            "outcome": _OPEN,
        }
        return cls(journal, Reservation(account, item, units), fields)

    async def settle(self, outcome: CallOutcome, amount: float) -> None:
        """Write down how the call ended, or that it cost nothing."""
        fields = {**self.fields, "outcome": str(outcome)} if amount else None
        await self.journal.accounts.settle(self.reservation, fields)
