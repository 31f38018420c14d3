"""The permit of a scope's visitor: a picture of its quota, and of the address's."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from app.errors import BudgetExhausted, ScopeClosed, ScopeGone, ServiceError
from app.spending.left_calls import is_free, with_quota
from app.spending.scope import ONE_PICTURE
from app.storage.ports.accounts import Reservation

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Hashable

    from app.generation.painting import CallOutcome
    from app.generation.spending import JournalEntry, PaintingPermit
    from app.spending.address_quota import AddressQuota
    from app.spending.project_permit import ProjectPermit
    from app.spending.scope import Scope, ScopeRequest
    from app.spending.scopes import Scopes
    from app.spending.visitor_limit import VisitorLimit


@dataclass(frozen=True, slots=True)
class ScopePermit:
    """A permit of the scope that was *asked*; its project pays."""

    asked: ScopeRequest
    project: ProjectPermit
    scopes: Scopes
    addresses: AddressQuota
    visitors: VisitorLimit
    is_visitor: bool = True

    @property
    def payers(self) -> frozenset[Hashable]:
        """The project, the scope and the address."""
        return self.project.payers | {self.payer, ("address", self.asked.address)}

    @property
    def payer(self) -> Hashable:
        """The scope."""
        scope = self.asked.scope
        return ("scope", str(scope.project), scope.name)

    async def count_look_up(self) -> None:
        """Count a look-up of an unpainted prompt; raises `RateLimited`."""
        await self.visitors.take(self.asked.address)

    async def refusal(self) -> ServiceError | None:
        """Return an error where generation is switched off, or the scope closed."""
        try:
            await self.require()
            await self.project.require()
        except ServiceError as refused:
            return refused
        return None

    async def exhaustion(self) -> ServiceError | None:
        """Return an error where no picture is left of the quota, as Redis counts it.

        None where that can't be read: the painting's own reservation decides.
        """
        if not self.asked.is_kept:
            return None
        try:
            scope = await self.require()
            balance = await self.project.journal.accounts.balance(scope.account)
        except ServiceError:
            return None
        return self.exhausted() if sum(balance) + ONE_PICTURE > scope.quota else None

    async def require(self) -> Scope:
        """Return the scope as it is now, if it takes new pictures.

        Raises `ScopeClosed`, `ScopeGone`, and `StorageUnavailable` where it
        can't be read.
        """
        asked = self.asked.scope
        scope = await self.scopes.current(asked.project, asked.name)
        if scope is None and not self.asked.is_kept:
            rules = await self.project.projects.current(asked.project)
            scope = asked if rules.auto_create_scopes else None
        if scope is None:
            raise ScopeGone("There is no such scope.", payer=self.payer)
        if not scope.allow_new:
            raise ScopeClosed("The scope takes no new pictures.", payer=self.payer)
        return scope

    @asynccontextmanager
    async def painting(
        self, generation_id: str, *, follows: str | None = None
    ) -> AsyncIterator[PaintingPermit]:
        """Take a picture of both quotas; give back what can't have been paid for.

        The scope's belongs to the generation; one that takes over goes on with
        that of the generation which it *follows*. The address's is kept once a
        provider was asked.
        """
        scope, address = await self.require(), self.asked.address
        await self.addresses.take(address, generation_id)
        async with self.project.painting(generation_id) as paid:
            painting = ScopePainting(self, paid, generation_id)
            try:
                async with (
                    self._made(scope),
                    self._quota(scope, generation_id, follows, painting),
                ):
                    yield painting
            except BaseException:
                if not painting.was_asked:
                    await asyncio.shield(
                        self.addresses.give_back(address, generation_id)
                    )
                raise

    @asynccontextmanager
    async def _made(self, scope: Scope) -> AsyncIterator[None]:
        """Make a scope that is not kept yet, once its first picture is."""
        if self.asked.is_kept:
            yield
            return
        async with self.scopes.making(scope):
            yield

    @asynccontextmanager
    async def _quota(
        self,
        scope: Scope,
        generation_id: str,
        follows: str | None,
        painting: ScopePainting,
    ) -> AsyncIterator[None]:
        accounts = self.project.journal.accounts
        one = Reservation(scope.account, generation_id, ONE_PICTURE, scope.quota)
        fields = {"generation_id": generation_id}
        await accounts.reserve(one, fields, refusal=self.exhausted, replaces=follows)
        try:
            yield
        except BaseException:
            ending = (
                accounts.settle(one, None) if painting.is_free else accounts.keep(one)
            )
            await asyncio.shield(ending)
            raise
        await accounts.keep(one)

    async def require_quota(self, scope: Scope) -> None:
        """Return if the quota as it is now has room for what is reserved of it."""
        balance = await self.project.journal.accounts.balance(scope.account)
        if sum(balance) > scope.quota:
            raise self.exhausted()

    def exhausted(self) -> BudgetExhausted:
        """Return the error of a quota that is used up."""
        return BudgetExhausted(
            "The scope has had as many new pictures as it may.", payer=self.payer
        )


@dataclass
class ScopePainting:
    """One painting of a scope: its project's, and what may have been paid of it."""

    permit: ScopePermit
    paid: PaintingPermit
    generation_id: str
    was_asked: bool = field(default=False, init=False)
    _open: int = field(default=0, init=False)

    @property
    def is_free(self) -> bool:
        """Whether nothing can have been billed: each call has ended, free."""
        return self._open == 0

    async def begin(self, model: str, price: float) -> JournalEntry:
        """Reserve *price* for a call, if the scope still allows it."""
        await self.permit.require_quota(await self.permit.require())
        entry = await self.paid.begin(model, price)
        return self._begun(entry, price)

    def resume(self, model: str, price: float, reference: str) -> JournalEntry:
        """Return the call that a former leader began."""
        return self._begun(self.paid.resume(model, price, reference), price)

    def _begun(self, entry: JournalEntry, price: float) -> JournalEntry:
        self.was_asked = True
        self._open += 1
        return _ScopeEntry(self, entry, price)

    def reference_of(self, entry: JournalEntry) -> str:
        """Return the reference of a call for the leader that goes on with its job.

        It names the quota's picture where no other call can have been billed: the
        picture is given back then if that one is free.
        """
        if self._open > 1:
            return entry.reference
        scope = self.permit.asked.scope
        return with_quota(entry.reference, scope, self.generation_id)

    def ended_free(self) -> None:
        """Note that a call ended, and that it can't have been billed."""
        self._open -= 1


@dataclass
class _ScopeEntry:
    """The journal's entry of a call, which the scope's painting watches."""

    painting: ScopePainting
    entry: JournalEntry
    price: float
    _is_settled: bool = field(default=False, init=False)

    @property
    def reference(self) -> str:
        return self.painting.reference_of(self.entry)

    async def settle(self, outcome: CallOutcome, amount: float) -> None:
        """Settle the entry; a free end is noted."""
        if is_free(outcome, amount, self.price) and not self._is_settled:
            self.painting.ended_free()
        self._is_settled = True
        await self.entry.settle(outcome, amount)
