"""The port to whoever pays: asked before every call that may cost something."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Hashable
    from contextlib import AbstractAsyncContextManager

    from app.errors import ServiceError
    from app.generation.painting import Outcome


class PaidCall(Protocol):
    """One call to a provider, whose price is reserved.

    *reference* names the reservation for whoever goes on with the call's job.
    """

    @property
    def reference(self) -> str:
        """An opaque text, for `Spending.resume`."""
        ...

    async def settle(self, outcome: Outcome, amount: float) -> None:
        """Note how the call ended and what it costs; once more is a no-op.

        A call that is never settled counts as paid.
        """
        ...


class Spending(Protocol):
    """What one painting is paid from."""

    async def begin(self, model: str, price: float) -> PaidCall:
        """Reserve *price* for a call of the alias *model* that is about to go out.

        Raises `PaymentRefused` where it must not, and `CacheUnavailable` or
        `StorageUnavailable` where nobody can say or note it.
        """
        ...

    def resume(self, model: str, price: float, reference: str) -> PaidCall:
        """Return the call that a former leader began; nothing is reserved anew."""
        ...


class SpendPermit(Protocol):
    """The right to have a prompt painted: it goes with a request to the painter."""

    @property
    def payers(self) -> frozenset[Hashable]:
        """Who pays: a refusal of one of them is a refusal for this request."""
        ...

    async def refusal(self) -> ServiceError | None:
        """Say why nothing may be painted at all, or None where it may."""
        ...

    def painting(
        self, generation_id: str, item: str
    ) -> AbstractAsyncContextManager[Spending]:
        """Take what one painting uses up, and give it back where the body raises.

        *item* names what is painted, whoever paints it. Raises like
        `Spending.begin`.
        """
        ...


class _FreeCall:
    reference = ""

    async def settle(self, outcome: Outcome, amount: float) -> None:
        """Note nothing."""


class _Unlimited:
    async def begin(self, model: str, price: float) -> PaidCall:  # noqa: ARG002
        """Let every call go out."""
        return _FreeCall()

    def resume(self, model: str, price: float, reference: str) -> PaidCall:  # noqa: ARG002
        """Let every job go on."""
        return _FreeCall()


UNLIMITED: Spending = _Unlimited()
"""Pays whatever is asked, and keeps no books."""


class UnlimitedPermit:
    """A `SpendPermit` for whoever needs none: everything is paid."""

    payers: frozenset[Hashable] = frozenset()

    async def refusal(self) -> None:
        """Refuse nothing."""

    @asynccontextmanager
    async def painting(self, generation_id: str, item: str) -> AsyncIterator[Spending]:  # noqa: ARG002
        """Let the painting begin."""
        yield UNLIMITED
