"""History of a chaos run: requests, faults and calls of the provider.

All times are seconds of one wall clock. `promises` judges it.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

# The largest difference between two clocks, or the two ends of a signal.
SLACK_SECONDS = 0.25
OK, NOT_FOUND = 200, 404


class Op(StrEnum):
    """The kinds of requests."""

    GET = "get"
    HEAD = "head"
    REFRESH = "refresh"
    PURGE = "purge"
    RESET = "reset"


class Kind(StrEnum):
    """The kinds of faults."""

    REPLICA_KILLED = "replica killed"
    REPLICA_PAUSED = "replica paused"
    REDIS_FROZEN = "redis frozen"
    REDIS_RESTARTED = "redis restarted"
    REDIS_FLUSHED = "redis flushed"
    REDIS_RESTORED = "redis restored"
    STORE_FROZEN = "store frozen"
    PROVIDER_FAILS = "provider fails"
    PROVIDER_SLOW = "provider slow"
    PROVIDER_CUTS = "provider cuts"
    PROVIDER_STALLS = "provider stalls"
    PROVIDER_STUMBLES = "provider stumbles"
    PICTURES_WITHHELD = "pictures withheld"
    JOBS_LOST = "jobs lost"


REPLICA_FAULTS = {Kind.REPLICA_KILLED, Kind.REPLICA_PAUSED}
REDIS_OUTAGES = {Kind.REDIS_FROZEN, Kind.REDIS_RESTARTED}
# Each may cost a prompt that is being painted one more call: its leader dies
# or sleeps past its lease, or the lease itself is lost.
COSTLY = REPLICA_FAULTS | REDIS_OUTAGES | {Kind.REDIS_FLUSHED, Kind.REDIS_RESTORED}


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One request; without a *status* its connection was lost.

    *digest* is that of the body, if there was one. *flaw* is a defect of the response
    itself: not whole, another prompt's, or without its headers.
    """

    op: Op
    prompt: str
    replica: int
    began: float
    ended: float
    status: int | None
    code: str = ""
    digest: str = ""
    flaw: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One fault; *replica* is the number of the replica, None if it hit all."""

    kind: Kind
    began: float
    ended: float
    replica: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One call that reached the provider; one that *failed* costs nothing.

    One that was *lost* costs the price and brought no picture: an ambiguous end, or a
    picture that the provider withheld.
    """

    prompt: str
    began: float
    ended: float
    failed: bool = False
    lost: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Money:
    """The cost of the provider's calls, by each account that counts it."""

    calls: int
    journaled: int
    opened: int
    total: float
    statistics: float


@dataclass(kw_only=True)
class History:
    """Everything that was observed.

    *deadline_seconds* is the longest time that a request may take, without pauses of
    its replica. *left_behind* are the defects found in Redis and in the object store
    after the last request.
    """

    deadline_seconds: float
    asked: list[Asked] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)
    left_behind: list[str] = field(default_factory=list)
    money: Money | None = None

    def prompts(self) -> list[str]:
        """Return every prompt that was requested, in order."""
        return list(dict.fromkeys(one.prompt for one in self.asked))

    def calls_of(self) -> dict[str, list[Call]]:
        """Return the calls of each prompt, in order."""
        calls: dict[str, list[Call]] = defaultdict(list)
        for call in sorted(self.calls, key=lambda call: call.began):
            calls[call.prompt].append(call)
        return calls

    def pictures_of(self) -> dict[str, set[str]]:
        """Return the digests that each prompt was answered with."""
        seen: dict[str, set[str]] = defaultdict(set)
        for one in self.pictures():
            seen[one.prompt].add(one.digest)
        return seen

    def replacements(self, prompt: str) -> list[Asked]:
        """Return the purges and refreshes that may have replaced a picture."""
        return [
            one
            for one in self.asked
            if one.prompt == prompt
            and one.op in {Op.PURGE, Op.REFRESH}
            and one.status != NOT_FOUND
        ]

    def takeovers(self) -> list[float]:
        """Return the times from a leader's death to the next call for its followers."""
        kills = [f.began for f in self.faults if f.kind is Kind.REPLICA_KILLED]
        return [
            again.began - killed
            for prompt, calls in self.calls_of().items()
            for call, again in pairwise(calls)
            for killed in kills
            if abs(call.ended - killed) < SLACK_SECONDS
            and again.began > killed
            and any(
                one.prompt == prompt and one.began < killed and one.ended > again.began
                for one in self.asked
            )
        ]

    def lost(self) -> list[Asked]:
        """Return the requests whose connection was lost, without clients' resets."""
        return [
            one for one in self.asked if one.status is None and one.op is not Op.RESET
        ]

    def paid_again(self) -> int:
        """Return the number of calls beyond the first for unreplaced prompts."""
        brought = (
            sum(not call.failed and not call.lost for call in calls)
            for prompt, calls in self.calls_of().items()
            if not self.replacements(prompt)
        )
        return sum(max(0, pictures - 1) for pictures in brought)

    def pictures(self) -> Iterator[Asked]:
        """Return the requests that were answered with a picture."""
        return (one for one in self.asked if one.status == OK and one.digest)
