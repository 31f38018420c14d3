"""A limit on look-ups of unknown names by strangers: each reads the ledger."""

from __future__ import annotations

import asyncio
import time
from collections import Counter, deque
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING

from cachetools import LRUCache

from app.errors import RateLimited, StorageUnavailable
from app.refusal_hold import RefusalHold

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from contextlib import AbstractAsyncContextManager

    LookUp = Callable[[], AbstractAsyncContextManager[Callable[[], None]]]

PER_SECOND_OF_REPLICA = 50
# Below that of the replica, so that one address leaves something to others.
PER_SECOND_OF_ADDRESS = 25
MAX_ADDRESSES = 10_000

# Look-ups at once, and how long one waits for its turn.
AT_ONCE = 16
AT_ONCE_OF_ADDRESS = 4
WAITS_SECONDS = 2.0


@dataclass(frozen=True, slots=True, eq=False)
class _Waiting:
    """One look-up of *address* that waits for its *turn*."""

    address: str
    turn: asyncio.Future[None]


class LookUpLimit:
    """Unknown names in any one second: of one address first, then of the replica.

    Only what turns out to be unknown counts, so that a burst of good keys is
    never refused: its look-ups wait for one another. *what* is looked up, for
    the sentence; refusals are held *until* that is set.
    """

    def __init__(
        self,
        what: str,
        *,
        per_address: int = PER_SECOND_OF_ADDRESS,
        per_replica: int = PER_SECOND_OF_REPLICA,
        until: asyncio.Event | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._what = what
        self._clock = clock
        self._hold = RefusalHold(until=until, clock=clock)
        self._per_address = per_address
        self._per_replica = per_replica
        self._replica: deque[float] = deque(maxlen=per_replica)
        self._addresses: LRUCache[str, deque[float]] = LRUCache(MAX_ADDRESSES)
        self._ongoing: Counter[str] = Counter()
        self._all_ongoing = 0
        # Those that wait for their turn, in the order in which they came.
        self._line: dict[_Waiting, None] = {}

    def of(self, address: str) -> LookUp:
        """Return the look-up of one name for *address*, as a context."""
        return partial(self._look_up, address)

    @asynccontextmanager
    async def _look_up(self, address: str) -> AsyncIterator[Callable[[], None]]:
        """Wait for a turn; yields what to call where the name is unknown.

        Raises `RateLimited` where too many were unknown in the last second.
        """
        try:
            await self._take_turn(address)
        except RateLimited:
            await self._hold.wait()
            raise
        try:
            yield partial(self._count, address)
        finally:
            self._end(address)
            self._serve_the_line()

    async def _take_turn(self, address: str) -> None:
        self._require_few_unknown(address)
        if self._is_its_turn(address):
            self._begin(address)
            return
        turn = asyncio.get_running_loop().create_future()
        waiting = _Waiting(address, turn)
        self._line[waiting] = None
        try:
            async with asyncio.timeout(WAITS_SECONDS):
                await turn
        except TimeoutError:
            raise StorageUnavailable(
                f"The line for look-ups of {self._what} is full."
            ) from None
        except asyncio.CancelledError:
            # 1. Its turn comes. 2. The caller goes in the same step of the loop.
            if turn.done() and not turn.cancelled() and turn.exception() is None:
                self._end(address)
                self._serve_the_line()
            raise
        finally:
            self._line.pop(waiting, None)

    def _serve_the_line(self) -> None:
        """Begin what fits, and refuse those whose look-ups are too many by now."""
        for waiting in list(self._line):
            if self._all_ongoing >= AT_ONCE:
                return
            if waiting.turn.done():
                continue
            try:
                self._require_few_unknown(waiting.address)
            except RateLimited as refused:
                waiting.turn.set_exception(refused)
                continue
            if self._is_its_turn(waiting.address):
                self._begin(waiting.address)
                waiting.turn.set_result(None)

    def _require_few_unknown(self, address: str) -> None:
        own = self._recent(self._unknown_of(address))
        if own >= self._per_address or self._recent(self._replica) >= self._per_replica:
            raise RateLimited(
                f"Too many unknown {self._what} are looked up.",
                retry_after=timedelta(seconds=1),
            )

    def _is_its_turn(self, address: str) -> bool:
        # Look-ups that are under way may turn out unknown as well.
        left = self._per_address - self._recent(self._unknown_of(address))
        return (
            self._ongoing[address] < min(AT_ONCE_OF_ADDRESS, left)
            and self._all_ongoing < AT_ONCE
            and self._all_ongoing + self._recent(self._replica) < self._per_replica
        )

    def _begin(self, address: str) -> None:
        self._ongoing[address] += 1
        self._all_ongoing += 1

    def _end(self, address: str) -> None:
        self._all_ongoing -= 1
        self._ongoing[address] -= 1
        if not self._ongoing[address]:
            del self._ongoing[address]

    def _unknown_of(self, address: str) -> deque[float]:
        own = self._addresses.get(address)
        if own is None:
            own = self._addresses[address] = deque(maxlen=self._per_address)
        return own

    def _recent(self, times: deque[float]) -> int:
        since = self._clock() - 1
        while times and times[0] <= since:
            times.popleft()
        return len(times)

    def _count(self, address: str) -> None:
        now = self._clock()
        self._unknown_of(address).append(now)
        self._replica.append(now)
