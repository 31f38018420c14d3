"""Calls whose leader has died, as the replica that finishes their job settles them.

The reference of a call that a visitor's painting began also names the picture of the
scope's quota that the painting took: where the job ends free, it is given back.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from app.generation.painting import CallOutcome
from app.generation.spending import UNLIMITED
from app.spending.journal import QUOTA_MARK, Call
from app.spending.scope import ONE_PICTURE, account_of, is_scope_name
from app.storage.ports.accounts import Reservation

if TYPE_CHECKING:
    from app.generation.spending import JournalEntry
    from app.spending.accounts import Accounts
    from app.spending.journal import Journal
    from app.spending.scope import Scope
    from app.storage.storage_key import Project

# The ends of a call in which the provider did not run, by its journal entry.
_NOT_RUN = frozenset(
    {CallOutcome.REJECTED, CallOutcome.RATE_LIMITED, CallOutcome.FAILED}
)


def is_free(outcome: CallOutcome, amount: float, price: float) -> bool:
    """Return whether a call of *price* that ended so can't have been billed."""
    return not amount and (price > 0 or outcome in _NOT_RUN)


def with_quota(reference: str, scope: Scope, generation_id: str) -> str:
    """Return the reference of a call, and of the picture that its painting took."""
    return f"{reference}{QUOTA_MARK}{scope.name}/{generation_id}"


def resumed(
    journal: Journal, project: Project, model: str, price: float, reference: str
) -> JournalEntry:
    """Return the call of *reference*, which gives its picture back if it was free."""
    entry = Call.of(journal, project, model, reference)
    call = entry or UNLIMITED.resume(model, price, reference)
    name, _, item = reference.partition(QUOTA_MARK)[2].partition("/")
    if not is_scope_name(name) or not item:
        return call
    one = Reservation(account_of(project, name), item, ONE_PICTURE)
    return _VisitorsCall(call, price, journal.accounts, one)


@dataclass(frozen=True, slots=True)
class _VisitorsCall:
    """A call of a painting that took *one* picture of a scope's quota."""

    entry: JournalEntry
    price: float
    accounts: Accounts
    one: Reservation

    @property
    def reference(self) -> str:
        return self.entry.reference

    async def settle(self, outcome: CallOutcome, amount: float) -> None:
        """Settle the call; after a free end the picture is given back."""
        await self.entry.settle(outcome, amount)
        if is_free(outcome, amount, self.price):
            await self.accounts.settle(self.one, None)
