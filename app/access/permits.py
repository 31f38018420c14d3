"""What a caller may spend: a permit that goes with the request to the painter."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from app.access.books import Entry
from app.access.caller import Role
from app.access.scopes import PLACE
from app.access.spending import PaintingSpending
from app.errors import BudgetExhausted, Forbidden, GenerationDisabled, ServiceError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Hashable

    from app.access.caller import Caller
    from app.access.projects import Projects
    from app.access.rate_limits import RateLimits
    from app.access.scopes import Scope, Scopes, Visit
    from app.access.spending import SpendJournal
    from app.generation.spending import Spending, SpendPermit
    from app.storage.ports.documents import Fields
    from app.storage.storage_key import Project


@dataclass(frozen=True, slots=True)
class NoPermit:
    """The permit of whoever may look up and never lead."""

    why: str
    payers: frozenset[Hashable] = frozenset()

    async def refusal(self) -> ServiceError:
        """Say why nothing is painted."""
        return Forbidden(self.why)

    @asynccontextmanager
    async def painting(self, generation_id: str, item: str) -> AsyncIterator[Spending]:  # noqa: ARG002
        """Refuse; nobody comes here who has asked for the refusal."""
        raise Forbidden(self.why)
        yield  # pragma: no cover - a generator needs one


@dataclass(frozen=True, slots=True)
class ProjectPermit:
    """A permit that a project pays."""

    project: Project
    projects: Projects
    journal: SpendJournal

    @property
    def payers(self) -> frozenset[Hashable]:
        """The project."""
        return frozenset({("project", str(self.project))})

    async def refusal(self) -> ServiceError | None:
        """Say whether generation is switched off."""
        rules = await self.projects.get(self.project)
        if rules.generation:
            return None
        return GenerationDisabled(
            "Generation is switched off; what is there is served."
        )

    @asynccontextmanager
    async def painting(self, generation_id: str, item: str) -> AsyncIterator[Spending]:  # noqa: ARG002 - a place needs it
        """Let the painting spend within the budget of the project's day."""
        rules = await self.projects.get(self.project)
        yield PaintingSpending(self.journal, self.project, rules, generation_id)


@dataclass(frozen=True, slots=True)
class ScopePermit:
    """A permit of a scope's visitor: a place of the scope, and one of the address."""

    visit: Visit
    project: ProjectPermit
    scopes: Scopes
    rates: RateLimits

    @property
    def payers(self) -> frozenset[Hashable]:
        """The project, the scope and the address."""
        return self.project.payers | {self._payer, ("address", self.visit.address)}

    @property
    def _payer(self) -> Hashable:
        scope = self.visit.scope
        return ("scope", str(scope.project), scope.name)

    async def refusal(self) -> ServiceError | None:
        """Say whether generation is switched off, or the scope closed."""
        if not self.visit.scope.allow_new:
            return Forbidden("The scope takes no new pictures.")
        return await self.project.refusal()

    @asynccontextmanager
    async def painting(self, generation_id: str, item: str) -> AsyncIterator[Spending]:
        """Take a place in the scope and one of the address, and give both back.

        A place belongs to *item*, the picture: a leader that takes over from
        one that died takes its place, too.
        """
        scope, address, rates = self.visit.scope, self.visit.address, self.rates
        await rates.count_new_picture(address, generation_id)
        try:
            if not self.visit.is_kept:
                scope, _ = await self.scopes.put(
                    scope.project, scope.name, {}, by="visitor"
                )
            async with (
                self._place(scope, item, {"generation_id": generation_id}),
                self.project.painting(generation_id, item) as spending,
            ):
                yield spending
        except BaseException:
            await asyncio.shield(rates.take_back_new_picture(address, generation_id))
            raise

    @asynccontextmanager
    async def _place(
        self, scope: Scope, item: str, fields: Fields
    ) -> AsyncIterator[None]:
        books = self.project.journal.books
        entry = Entry(scope.book, item, PLACE)
        await books.enter(
            entry,
            fields,
            settle_within=self.project.journal.settle_within,
            refusal=self._exhausted,
        )
        try:
            yield
        except BaseException:
            await asyncio.shield(books.settle(entry, None))
            raise
        await books.settle(entry, fields)

    def _exhausted(self) -> BudgetExhausted:
        return BudgetExhausted(
            "The scope has had as many new pictures as it may.", payer=self._payer
        )


class Permits:
    """Who may have something painted, and who pays."""

    def __init__(
        self,
        projects: Projects,
        journal: SpendJournal,
        scopes: Scopes,
        rates: RateLimits,
    ) -> None:
        self._projects = projects
        self._journal = journal
        self._scopes = scopes
        self._rates = rates

    def of(self, caller: Caller) -> SpendPermit:
        """Return the permit of *caller*."""
        if caller.is_cross_site:
            return NoPermit("Another site's page can't have anything painted.")
        if not caller.role.includes(Role.PROJECT):
            return NoPermit("A key that reads can't have anything painted.")
        return ProjectPermit(caller.project, self._projects, self._journal)

    def of_visitor(self, visit: Visit) -> SpendPermit:
        """Return the permit of a scope's visitor."""
        project = ProjectPermit(visit.scope.project, self._projects, self._journal)
        return ScopePermit(visit, project, self._scopes, self._rates)
