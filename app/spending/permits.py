"""What a caller may spend: a permit that goes with the request to the painter."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from app.access.caller import Role
from app.errors import BudgetExhausted, Forbidden, GenerationDisabled, ServiceError
from app.generation.spending import UNLIMITED
from app.spending.journal import Call, ProjectPainting
from app.spending.scopes import ONE_PICTURE
from app.storage.ports.accounts import Reservation

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Hashable

    from app.access.caller import Caller
    from app.generation.spending import JournalEntry, PaintingPermit, Permit
    from app.spending.address_quota import AddressQuota
    from app.spending.journal import Journal
    from app.spending.projects import Projects
    from app.spending.scopes import Scope, ScopeRequest, Scopes
    from app.storage.ports.documents import Fields
    from app.storage.storage_key import Project


@dataclass(frozen=True, slots=True)
class NoPermit:
    """The permit of a caller that may look up and never lead."""

    why: str
    payers: frozenset[Hashable] = frozenset()

    async def refusal(self) -> ServiceError:
        """Return why nothing is painted."""
        return Forbidden(self.why)

    @asynccontextmanager
    async def painting(
        self,
        generation_id: str,  # noqa: ARG002 - nothing is painted
        item: str,  # noqa: ARG002 - nothing is painted
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

    async def refusal(self) -> None:
        """Refuse nothing: it is paid for."""

    @asynccontextmanager
    async def painting(
        self,
        generation_id: str,  # noqa: ARG002 - nothing is taken
        item: str,  # noqa: ARG002 - nothing is taken
    ) -> AsyncIterator[PaintingPermit]:
        """Let the job be ended; what its leader took stays taken."""
        yield self

    async def begin(self, model: str, price: float) -> JournalEntry:  # noqa: ARG002 - nothing is begun
        """Refuse: nobody asks for a new painting."""
        raise Forbidden("Only what is paid for is fetched.")

    def resume(self, model: str, price: float, reference: str) -> JournalEntry:
        """Return the call that the former leader wrote down."""
        found = Call.of(self.journal, self.project, model, reference)
        return found or UNLIMITED.resume(model, price, reference)


@dataclass(frozen=True, slots=True)
class ProjectPermit:
    """A permit that a project pays."""

    project: Project
    projects: Projects
    journal: Journal

    @property
    def payers(self) -> frozenset[Hashable]:
        """The project."""
        return frozenset({("project", str(self.project))})

    async def refusal(self) -> ServiceError | None:
        """Return an error where generation is switched off."""
        rules = await self.projects.get(self.project)
        if rules.generation:
            return None
        return GenerationDisabled(
            "Generation is switched off; what is there is served."
        )

    @asynccontextmanager
    async def painting(
        self,
        generation_id: str,
        item: str,  # noqa: ARG002 - a quota needs it
    ) -> AsyncIterator[PaintingPermit]:
        """Let the painting spend within the budget of the project's day."""
        rules = await self.projects.get(self.project)
        yield ProjectPainting(self.journal, self.project, rules, generation_id)


@dataclass(frozen=True, slots=True)
class ScopePermit:
    """A permit of a scope's visitor: a picture of its quota and of the address's."""

    asked: ScopeRequest
    project: ProjectPermit
    scopes: Scopes
    addresses: AddressQuota

    @property
    def payers(self) -> frozenset[Hashable]:
        """The project, the scope and the address."""
        return self.project.payers | {self._payer, ("address", self.asked.address)}

    @property
    def _payer(self) -> Hashable:
        scope = self.asked.scope
        return ("scope", str(scope.project), scope.name)

    async def refusal(self) -> ServiceError | None:
        """Return an error where generation is switched off, or the scope closed."""
        if not self.asked.scope.allow_new:
            return Forbidden("The scope takes no new pictures.")
        return await self.project.refusal()

    @asynccontextmanager
    async def painting(
        self, generation_id: str, item: str
    ) -> AsyncIterator[PaintingPermit]:
        """Take a picture of both quotas, and give both back where the body raises.

        It belongs to *item*: a leader that takes over from one that died goes
        on with it.
        """
        scope, address = self.asked.scope, self.asked.address
        await self.addresses.take(address, generation_id)
        try:
            if not self.asked.is_kept:
                scope, _ = await self.scopes.put(
                    scope.project, scope.name, {}, by="visitor"
                )
            async with (
                self._quota(scope, item, {"generation_id": generation_id}),
                self.project.painting(generation_id, item) as spending,
            ):
                yield spending
        except BaseException:
            await asyncio.shield(self.addresses.give_back(address, generation_id))
            raise

    @asynccontextmanager
    async def _quota(
        self, scope: Scope, item: str, fields: Fields
    ) -> AsyncIterator[None]:
        accounts = self.project.journal.accounts
        reservation = Reservation(scope.account, item, ONE_PICTURE, scope.quota)
        await accounts.reserve(
            reservation,
            fields,
            settle_within=self.project.journal.settle_within,
            refusal=self._exhausted,
        )
        try:
            yield
        except BaseException:
            await asyncio.shield(accounts.settle(reservation, None))
            raise
        await accounts.settle(reservation, fields)

    def _exhausted(self) -> BudgetExhausted:
        return BudgetExhausted(
            "The scope has had as many new pictures as it may.", payer=self._payer
        )


class Permits:
    """Who may have something painted, and who pays."""

    def __init__(
        self,
        projects: Projects,
        journal: Journal,
        scopes: Scopes,
        addresses: AddressQuota,
    ) -> None:
        self._projects = projects
        self._journal = journal
        self._scopes = scopes
        self._addresses = addresses

    def paid_already(self, project: Project) -> PaidAlready:
        """Return what ends the jobs of *project* that were left, and begins none."""
        return PaidAlready(self._journal, project)

    def of(self, caller: Caller) -> Permit:
        """Return the permit of *caller*."""
        if caller.is_cross_site:
            return NoPermit("Another site's page can't have anything painted.")
        if not caller.role.includes(Role.PROJECT):
            return NoPermit("A key that reads can't have anything painted.")
        return ProjectPermit(caller.project, self._projects, self._journal)

    def of_scope_request(self, asked: ScopeRequest) -> Permit:
        """Return the permit of a scope's visitor."""
        project = ProjectPermit(asked.scope.project, self._projects, self._journal)
        return ScopePermit(asked, project, self._scopes, self._addresses)
