"""A flight, and what it is for."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar
from uuid import uuid4

from app.prompt_cache.flight.leases import generation_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from app.prompt_cache.flight.leases import Lease
    from app.storage.ports.prompt_index import Verdict

T = TypeVar("T")


def _future() -> asyncio.Future[Any]:
    return asyncio.get_running_loop().create_future()


@dataclass(eq=False)
class Flight(Generic[T]):
    """Everyone on this replica who waits for one prompt.

    *generation_id* is the lease's token as well: made before the first
    attempt, so that an `ACQUIRE` whose reply was lost can be repeated.
    *is_promised* says that somebody was told to ask for it.
    """

    prompt_hash: str
    generation_id: str = field(default_factory=lambda: str(uuid4()))
    leader_id: str | None = None
    is_promised: bool = False
    waiters: int = 0
    landed: asyncio.Future[T | None] = field(default_factory=_future)
    overdue: asyncio.Future[None] = field(default_factory=_future)
    is_closed: bool = False
    role_known: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def leads(self) -> bool:
        """Whether the work is ours."""
        return self.leader_id == self.generation_id

    def lead(self) -> None:
        """Note that the flight leads."""
        self.leader_id = self.generation_id

    def announce(self) -> None:
        """Tell those who won't wait the generation's id: it can be asked about."""
        self.role_known.set()

    def follow(self, holder: str) -> None:
        """Note whom the flight follows; nobody's generation where it is a writer."""
        self.leader_id = generation_of(holder)
        self.role_known.set()

    def close(self) -> None:
        """Let nobody join any more: what it leads to is about to be told.

        1. The entry is written. 2. A purge removes it, and answers. 3. Whoever
        asks now must not be given the picture by a flight that has yet to land.
        """
        self.is_closed = True

    @contextmanager
    def overdue_at(self, moment: float) -> Iterator[None]:
        """Let nobody wait longer than until *moment* for what the context does."""
        timer = asyncio.get_running_loop().call_at(moment, self._is_overdue)
        try:
            yield
        finally:
            timer.cancel()

    def _is_overdue(self) -> None:
        if not self.overdue.done():
            self.overdue.set_result(None)


class Work(Protocol[T]):
    """What a flight is for, as whoever starts it knows it."""

    @property
    def prompt_hash(self) -> str:
        """The prompt that it is about."""
        ...

    async def acquire(self, lease: Lease) -> Verdict:
        """Ask for the lease; again and again while another one has it."""
        ...

    async def lead(self, flight: Flight[T], lease: Lease) -> T:
        """Do a leader's work, once, under the lease."""
        ...

    async def promise(self, flight: Flight[T]) -> None:
        """Make the flight's generation one that can be asked about."""
        ...

    async def keep_promise(self, flight: Flight[T], error: Exception | None) -> None:
        """Say how a promised generation ended that this flight did not lead."""
        ...
