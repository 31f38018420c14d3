"""Spending, assembled: production, tests and commands call the same."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from app.spending.accounts import Accounts
from app.spending.address_quota import AddressQuota
from app.spending.journal import Journal
from app.spending.permits import Permits
from app.spending.projects import NO_LIMITS, ProjectRules, Projects, own_rules
from app.spending.scope import Scope, scope_of
from app.spending.scopes import Scopes
from app.spending.visitor_limit import VisitorLimit
from app.storage.known_documents import KnownDocuments

if TYPE_CHECKING:
    import asyncio
    from collections.abc import AsyncIterator, Callable

    from app.spending.project_permit import RequireActive
    from app.storage.ports.accounts import AccountStore
    from app.storage.ports.documents import Documents, Fields
    from app.storage.ports.rates import Rates


@dataclass(frozen=True, slots=True, kw_only=True)
class SpendingRules:
    """The operator's settings for budgets and scopes."""

    defaults: ProjectRules = NO_LIMITS
    new_per_address_per_hour: int = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Spending:
    """The parts that limit what callers spend and record what was paid."""

    defaults: ProjectRules
    journal: Journal
    permits: Permits
    projects: Projects
    scopes: Scopes


@asynccontextmanager
async def open_spending(
    documents: Documents,
    store: AccountStore,
    rates: Rates,
    rules: SpendingRules,
    *,
    require_active: RequireActive,
    listener_closed: asyncio.Event | None = None,
    on_degraded: Callable[[str], None] = lambda _: None,
) -> AsyncIterator[Spending]:
    """Open spending over the ledger's *documents*, and what all replicas count.

    From *listener_closed* on no refusal is held.
    """
    is_stale = partial(on_degraded, "stale_documents")
    known_projects: KnownDocuments[Fields] = KnownDocuments(
        documents, lambda _, fields: own_rules(fields), on_stale=is_stale
    )
    known_scopes: KnownDocuments[Scope] = KnownDocuments(
        documents, scope_of, on_stale=is_stale
    )
    accounts = Accounts(store, documents, on_degraded=on_degraded)
    journal = Journal(accounts, documents)
    projects = Projects(documents, known_projects, rules.defaults)
    scopes = Scopes(documents, known_scopes, store, accounts)
    addresses = AddressQuota(rates, per_hour=rules.new_per_address_per_hour)
    async with (
        accounts.settled(),
        known_projects.kept_fresh(),
        known_scopes.kept_fresh(),
    ):
        yield Spending(
            defaults=rules.defaults,
            journal=journal,
            permits=Permits(
                projects,
                journal,
                scopes,
                addresses=addresses,
                visitors=VisitorLimit(until=listener_closed),
                require_active=require_active,
            ),
            projects=projects,
            scopes=scopes,
        )
