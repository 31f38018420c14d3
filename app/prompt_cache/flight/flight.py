"""A flight, and what it is for."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar
from uuid import uuid4

from app.prompt_cache.flight.leases import generation_of, token_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from app.errors import ServiceError
    from app.prompt_cache.flight.leases import Lease
    from app.storage.ports.prompt_index import Verdict

T = TypeVar("T")


def _future() -> asyncio.Future[Any]:
    return asyncio.get_running_loop().create_future()


@dataclass(eq=False)
class Flight(Generic[T]):
    """Everyone on this replica who waits for one prompt.

    *token* is that of the lease: made before the first attempt, so that an
    `ACQUIRE` whose reply was lost can be repeated. *is_promised* says that a
    caller was given the generation's id, *is_recorded* that the painter writes
    its record, to the end. *followed_id* is the generation that it followed last.
    """

    prompt_hash: str
    generation_id: str = field(default_factory=lambda: str(uuid4()))
    token: str = ""
    leader_id: str | None = None
    followed_id: str | None = None
    is_promised: bool = False
    is_recorded: bool = False
    waiters: int = 0
    landed: asyncio.Future[T | None] = field(default_factory=_future)
    overdue: asyncio.Future[None] = field(default_factory=_future)
    refusal: ServiceError | None = None
    is_closed: bool = False
    role_known: asyncio.Event = field(default_factory=asyncio.Event)
    naming: asyncio.Lock = field(default_factory=asyncio.Lock)

    def __post_init__(self) -> None:
        self.token = self.token or self.generation_id

    @classmethod
    def taking_up(cls, prompt_hash: str, generation_id: str) -> Flight[T]:
        """Return a flight that goes on with a generation whose leader is silent.

        Under a token of its own: the former leader may only have stalled, and
        two must never hold one lease.
        """
        return cls(
            prompt_hash,
            generation_id,
            token=token_of(generation_id, str(uuid4())),
        )

    @property
    def takes_up(self) -> bool:
        """Whether it goes on with another leader's generation."""
        return self.token != self.generation_id

    @property
    def leads(self) -> bool:
        """Whether the work is ours."""
        return self.leader_id == self.generation_id

    def lead(self) -> None:
        """Note that the flight leads."""
        self.leader_id = self.generation_id

    def announce(self) -> None:
        """Give callers that do not wait the generation's id: it has a record."""
        self.role_known.set()

    def follow(self, holder: str) -> None:
        """Note which generation the flight follows; None where it is a writer."""
        self.leader_id = generation_of(holder)
        self.followed_id = self.leader_id or self.followed_id
        self.role_known.set()

    def close(self) -> None:
        """Take no one in any more: its completion event is about to be sent.

        1. The entry is written. 2. A purge removes it, and answers. 3. A later
        caller must not get the picture from a flight that has yet to land.
        """
        self.is_closed = True

    def refuse(self, error: ServiceError) -> None:
        """Answer those who wait, and those who join, with *error*; the work goes on."""
        self.refusal = error
        self._is_overdue()

    @contextmanager
    def overdue_at(self, moment: float) -> Iterator[None]:
        """End every wait at *moment* for what the context does."""
        timer = asyncio.get_running_loop().call_at(moment, self._is_overdue)
        try:
            yield
        finally:
            timer.cancel()

    def _is_overdue(self) -> None:
        if not self.overdue.done():
            self.overdue.set_result(None)


class Work(Protocol[T]):
    """The purpose of a flight, as its starter knows it."""

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

    async def promise(self, flight: Flight[T]) -> str:
        """Return the id of a generation that has a record, and will end.

        It is the leader's, or else the flight's own, which is promised then.
        """
        ...

    async def keep_promise(
        self, flight: Flight[T], result: T | None, error: Exception | None
    ) -> None:
        """Write how a promised generation ended that has no record of a painter's."""
        ...
