"""The port to the accounts that pay: asked before every call that may cost."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Hashable
    from contextlib import AbstractAsyncContextManager

    from app.errors import ServiceError
    from app.generation.painting import CallOutcome


class JournalEntry(Protocol):
    """One call to a provider, whose price is reserved.

    *reference* names the reservation for the leader that goes on with its job.
    """

    @property
    def reference(self) -> str:
        """An opaque text, for `PaintingPermit.resume`."""
        ...

    async def settle(self, outcome: CallOutcome, amount: float) -> None:
        """Note how the call ended and what it costs; a second call is a no-op.

        A call that is never settled counts as paid.
        """
        ...


class PaintingPermit(Protocol):
    """The right to make the calls of one painting."""

    async def begin(self, model: str, price: float) -> JournalEntry:
        """Reserve *price* for a call of the alias *model* that is about to go out.

        Key, rules and scope are asked anew. Raises `PaymentRefused` where it
        must not, and `CacheUnavailable` or `StorageUnavailable` where that
        can't be read or noted.
        """
        ...

    def resume(self, model: str, price: float, reference: str) -> JournalEntry:
        """Return the call that a former leader began; nothing is reserved anew."""
        ...


class Permit(Protocol):
    """The right to have a prompt painted: it goes with a request to the painter."""

    @property
    def payers(self) -> frozenset[Hashable]:
        """Return the accounts that pay: a refusal of one refuses this request."""
        ...

    async def refusal(self) -> ServiceError | None:
        """Return why nothing may be painted at all, or None where it may."""
        ...

    async def exhaustion(self) -> ServiceError | None:
        """Return why a new painting would be refused now, None where it may begin.

        Cheap, and for visitors alone; what another request has painted is
        waited for all the same.
        """
        ...

    @property
    def is_visitor(self) -> bool:
        """Whether the request has no key: its look-ups have a line of their own."""
        ...

    async def count_look_up(self) -> None:
        """Count a look-up of an unpainted prompt; raises `RateLimited`."""
        ...

    def painting(
        self, generation_id: str, *, follows: str | None = None
    ) -> AbstractAsyncContextManager[PaintingPermit]:
        """Take what one painting uses up; give back what can't have been paid for.

        *follows* is the generation whose leader is gone, and that this one goes
        on with. Raises like `PaintingPermit.begin`.
        """
        ...


class PaidAlready(Permit, PaintingPermit, Protocol):
    """The permit of a job that was left: it is fetched or cancelled, no call begins."""

    async def is_open(self, reference: str) -> bool:
        """Return whether the call of *reference* is written down and not settled.

        Raises `StorageUnavailable`.
        """
        ...


class _FreeCall:
    reference = ""

    async def settle(self, outcome: CallOutcome, amount: float) -> None:
        """Note nothing."""


class _Unlimited:
    async def begin(self, *_: object) -> JournalEntry:
        """Permit every call."""
        return _FreeCall()

    def resume(self, *_: object) -> JournalEntry:
        """Permit every job to continue."""
        return _FreeCall()


UNLIMITED: PaintingPermit = _Unlimited()
"""Pays for every call, and writes nothing down."""
