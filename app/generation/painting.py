"""The result of a call to a model, and the observers and handles of the call."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol

from app.errors import CallEnd, GenerationError, ProviderFailed
from app.generation.transport.call_ends import end_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from app.generation.painting_queue import PaintingQueue
    from app.generation.provenance import Provenance
    from app.generation.provider import Origin, Reference
    from app.image import Image


class CallOutcome(StrEnum):
    """The end of a call that reached a provider; its value is a label of metrics."""

    OK = "ok"
    REJECTED = "rejected"
    RATE_LIMITED = "rate_limited"
    FAILED = "failed"
    TIMEOUT = "timeout"
    BAD_IMAGE = "bad_image"
    UNKNOWN = "unknown"  # in the journal alone: an ambiguous end


class ReferenceLoader(Protocol):
    """Reads the reference pictures of one painting, when they are needed."""

    async def __call__(
        self, *, by_address: bool, within_seconds: float, media_types: frozenset[str]
    ) -> tuple[Reference, ...]:
        """Return them in order, each distinct one read once.

        One that is of none of *media_types* is converted without loss.
        With *by_address* the provider can fetch what is lent: those that are
        better fetched than sent have a `url`, good for a call that takes up to
        *within_seconds*. It is called by each model in turn, once it has a
        slot.
        """
        ...


class PaintObserver(Protocol):
    """The port that counts calls and money."""

    def provider_call(
        self, provider: str, model: str, outcome: str, seconds: float, price: float
    ) -> None:
        """Note one call that reached *provider* for the alias *model*.

        *outcome* is a `CallOutcome`, *price* what the call may have cost.
        """
        ...

    def ambiguous_end(self, model: str) -> None:
        """Note a call of *model* that may have been billed without a picture."""
        ...

    def job_resumed(self, model: str) -> None:
        """Note a job of *model* that a former leader left, and that is gone on with."""
        ...

    def watch(
        self, model: str, *, waiting: Callable[[], int], is_resting: Callable[[], bool]
    ) -> None:
        """Register callbacks: how many wait, and whether the breaker is open.

        Called once for each model, before it paints.
        """
        ...


@dataclass(frozen=True, slots=True)
class Painting:
    """A picture that has passed every check, and who painted it.

    *model* is the alias that did, with its own *price*; *seconds* are those of
    its call, without queueing. *provenance* is what *image* says of itself,
    *origin* what its adapter knows.
    """

    image: Image
    provenance: Provenance
    model: str
    price: float
    seconds: float
    origin: Origin


class Progress:
    """The state of one painting, readable from outside while it runs.

    *spent* is what all its calls so far may have cost, also where they failed
    or were cancelled; *is_running* says that a provider is at work, *fraction*
    how much of it is done, 0 to 1, where the provider tells. *charged* is the
    last failure that may have been billed; for *hold* after it nothing more may
    be paid for the prompt.
    """

    def __init__(self) -> None:
        self.spent = 0.0
        self.charged: GenerationError | None = None
        self.hold = timedelta(0)
        self.is_running = False
        self.fraction: float | None = None
        self.queue: PaintingQueue | None = None

    def note_failure(self, failure: BaseException, hold: timedelta) -> None:
        """Note how a call failed; *hold* follows an ambiguous end."""
        end = end_of(failure)
        if end is CallEnd.CERTAIN:
            return
        if end is CallEnd.AMBIGUOUS:
            self.hold = max(self.hold, hold)
        self.charged = (
            failure
            if isinstance(failure, GenerationError)
            else ProviderFailed("The call to the image provider was cut off.", end=end)
        )

    @property
    def queue_position(self) -> int | None:
        """Return its position in the queue; None when it does not wait."""
        return self.queue.position_of(self) if self.queue else None
