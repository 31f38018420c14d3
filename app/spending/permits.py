"""Permits: what a request may have painted; each goes with it to the painter.

A permit is asked anew directly before each call to a provider, of fall-backs,
take-overs and queued paintings, too: key, rules and scope have to be as the
ledger had them within the last five seconds.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from app.access.caller import Role
from app.errors import Forbidden
from app.generation.spending import UNLIMITED
from app.spending.journal import Call
from app.spending.left_calls import resumed
from app.spending.project_permit import ProjectPermit
from app.spending.scope_permit import ScopePermit

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Hashable

    from app.access.caller import Caller
    from app.errors import ServiceError
    from app.generation.spending import JournalEntry, PaintingPermit, Permit
    from app.spending.address_quota import AddressQuota
    from app.spending.journal import Journal
    from app.spending.project_permit import RequireActive
    from app.spending.projects import Projects
    from app.spending.scope import ScopeRequest
    from app.spending.scopes import Scopes
    from app.spending.visitor_limit import VisitorLimit
    from app.storage.storage_key import Project


@dataclass(frozen=True, slots=True)
class NoPermit:
    """The permit of a caller that may look up and never lead."""

    why: str
    payers: frozenset[Hashable] = frozenset()
    is_visitor: bool = False

    async def count_look_up(self) -> None:
        """Count nothing: the caller has a key."""

    async def refusal(self) -> ServiceError:
        """Return why nothing is painted."""
        return Forbidden(self.why)

    async def exhaustion(self) -> None:
        """Return None: what refuses it, refuses everything."""

    @asynccontextmanager
    async def painting(
        self,
        generation_id: str,  # noqa: ARG002 - nothing is painted
        *,
        follows: str | None = None,  # noqa: ARG002 - nothing is painted
    ) -> AsyncIterator[PaintingPermit]:
        """Refuse, like `refusal` before it."""
        raise Forbidden(self.why)
        yield  # pragma: no cover - a generator needs one


@dataclass(frozen=True, slots=True)
class PaidAlready:
    """The permit of a job whose leader has died: it is fetched, or cancelled."""

    journal: Journal
    project: Project
    payers: frozenset[Hashable] = frozenset()
    is_visitor: bool = False
    finishes: bool = False

    async def count_look_up(self) -> None:
        """Count nothing: no caller asks."""

    async def refusal(self) -> None:
        """Refuse nothing: it is paid for."""

    async def exhaustion(self) -> None:
        """Return None: it is paid for."""

    @asynccontextmanager
    async def painting(
        self,
        generation_id: str,  # noqa: ARG002 - nothing is taken
        *,
        follows: str | None = None,  # noqa: ARG002 - nothing is taken
    ) -> AsyncIterator[PaintingPermit]:
        """Permit to end the job in place of its leader.

        What that one reserved stays reserved, and a scope's picture is given back
        as it would have been; a purge, which only ends the job, gives none back.
        """
        yield replace(self, finishes=True)

    async def begin(self, model: str, price: float) -> JournalEntry:  # noqa: ARG002 - nothing is begun
        """Refuse: no new painting was asked for."""
        raise Forbidden("Only what is paid for is fetched.")

    async def is_open(self, reference: str) -> bool:
        """Return whether the call of *reference* is written down and not settled."""
        call = Call.of(self.journal, self.project, "", reference)
        return call is not None and await self.journal.is_open(call)

    def resume(self, model: str, price: float, reference: str) -> JournalEntry:
        """Return the call that the former leader wrote down."""
        if self.finishes:
            return resumed(self.journal, self.project, model, price, reference)
        found = Call.of(self.journal, self.project, model, reference)
        return found or UNLIMITED.resume(model, price, reference)


class Permits:
    """The permits of all requests."""

    def __init__(
        self,
        projects: Projects,
        journal: Journal,
        scopes: Scopes,
        *,
        addresses: AddressQuota,
        visitors: VisitorLimit,
        require_active: RequireActive,
    ) -> None:
        self._projects = projects
        self._journal = journal
        self._scopes = scopes
        self._addresses = addresses
        self._visitors = visitors
        self._require_active = require_active

    def paid_already(self, project: Project) -> PaidAlready:
        """Return the permit that ends jobs of *project* that were left behind."""
        return PaidAlready(self._journal, project)

    def of(self, caller: Caller) -> Permit:
        """Return the permit of *caller*."""
        if caller.is_cross_site:
            return NoPermit("Another site's page can't have anything painted.")
        if not caller.role.includes(Role.PROJECT):
            return NoPermit("A key that reads can't have anything painted.")
        return self._of_project(caller)

    def of_scope_request(self, asked: ScopeRequest, caller: Caller) -> Permit:
        """Return the permit of a scope's visitor."""
        project = self._of_project(caller)
        return ScopePermit(
            asked, project, self._scopes, self._addresses, self._visitors
        )

    def _of_project(self, caller: Caller) -> ProjectPermit:
        return ProjectPermit(
            caller, self._projects, self._journal, self._require_active
        )
