"""Model: one alias at work: its places, its breaker, one call, the checks."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING

from app.errors import (
    CallEnd,
    GenerationError,
    GenerationTimedOut,
    InvalidRequest,
    ProviderFailed,
)
from app.generation.circuit_breaker import CircuitBreaker
from app.generation.concurrency_limit import ConcurrencyLimit
from app.generation.outcomes import booked_as, is_healthy, outcome_of
from app.generation.painting import Painting
from app.generation.spending import UNLIMITED
from app.generation.transport.call_ends import end_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from app.generation.config.models_file import ModelConfig
    from app.generation.finishing import Finishing
    from app.generation.jobs import JobHandle
    from app.generation.painting import PaintObserver, Progress, ReferenceLoader
    from app.generation.provider import ImageProvider, PaintRequest, ProviderPicture
    from app.generation.spending import JournalEntry, PaintingPermit

_logger = logging.getLogger(__name__)

# A job that was left may be done long since: one look costs nothing.
_LAST_LOOK_SECONDS = 5.0
_CANCEL_WITHIN_SECONDS = 5.0


class Model:
    """Whoever paints under one alias, called within its limits."""

    def __init__(
        self,
        config: ModelConfig,
        provider: ImageProvider,
        *,
        finishing: Finishing,
        observer: PaintObserver,
        breaker: CircuitBreaker | None = None,
    ) -> None:
        self.alias = config.alias
        self.price = config.price
        self.system = f"{config.provider} {config.model}".strip()
        self.fallbacks = config.fallbacks
        self.also = config.also
        self.accept = config.accept
        self.falls_back_when_ambiguous = config.fallback_when_ambiguous
        self._hold = timedelta(seconds=config.ambiguous_hold_seconds)
        self._deadline_seconds = config.deadline_seconds
        self._places = ConcurrencyLimit(config.concurrency, config.queue)
        self._provider = provider
        self._finishing = finishing
        self._observer = observer
        self._breaker = breaker or CircuitBreaker()
        self._cancelling: set[asyncio.Task[None]] = set()
        observer.watch(
            self.alias,
            waiting=lambda: self._places.waiting,
            is_resting=lambda: self._breaker.is_open,
        )

    async def paint(
        self,
        request: PaintRequest,
        *,
        deadline: float,
        progress: Progress,
        job: JobHandle,
        references: ReferenceLoader | None = None,
        spending: PaintingPermit = UNLIMITED,
    ) -> Painting:
        """Paint once a place is free, with one call; see `Models.paint`.

        A job that was left is waited for even where the breaker is open: to
        submit another would cost money, and to ask after this one does not.
        """
        if job.left is None:
            self._breaker.check()
        release = await self._place(deadline, progress)
        progress.is_running = True
        try:
            if references is not None and job.left is None:
                request = await self._with(references, request, deadline)
            return await self._call(request, deadline, progress, job, spending)
        finally:
            progress.is_running = False
            release()

    async def cancel(self, job_id: str) -> None:
        """End a job that nobody waits for; a failure is logged, and waited for 5 s."""
        try:
            async with asyncio.timeout(_CANCEL_WITHIN_SECONDS):
                await self._provider.cancel(job_id)
        except Exception as error:  # noqa: BLE001 - nobody is left who could act on it
            _logger.warning(
                "job is not cancelled",
                extra={"model": self.alias, "error": type(error).__name__},
            )

    async def probe(self) -> bool:
        """Ask the provider for what costs nothing; see `ImageProvider.probe`."""
        return await self._provider.probe()

    async def aclose(self) -> None:
        """Wait for what is still to be told to the provider, 5 s at the most."""
        if self._cancelling:
            await asyncio.wait(self._cancelling)

    async def _with(
        self, references: ReferenceLoader, request: PaintRequest, deadline: float
    ) -> PaintRequest:
        try:
            async with asyncio.timeout_at(deadline):
                loaded = await references(
                    by_address=self._provider.takes_addresses,
                    within_seconds=self._deadline_seconds,
                )
        except TimeoutError as error:
            raise _never_asked() from error
        return replace(request, references=loaded)

    async def _place(self, deadline: float, progress: Progress) -> Callable[[], None]:
        progress.places = self._places
        try:
            async with asyncio.timeout_at(deadline):
                return await self._places.acquire(progress)
        except TimeoutError as error:
            raise _never_asked() from error

    async def _call(
        self,
        request: PaintRequest,
        deadline: float,
        progress: Progress,
        job: JobHandle,
        spending: PaintingPermit,
    ) -> Painting:
        clock = asyncio.get_running_loop().time
        started = clock()
        if started >= deadline:
            raise _never_asked()
        admission = None if job.left else self._breaker.admit()
        if admission is not None:
            job.on_begun = partial(self._breaker.accepted, admission)
        seconds: float | None = None
        failure: BaseException | None = None
        paid: JournalEntry | None = None
        try:
            # Reserved before the provider is asked, and the clock starts after.
            paid = await self._pay(job, spending)
            started = clock()
            own_deadline = started + self._seconds_for(job)
            painted = await self._ask(
                request,
                job,
                min(deadline, own_deadline),
                is_own_cut=deadline < own_deadline,
            )
            seconds = clock() - started
            finished = await self._finishing.finish(painted, request)
        except BaseException as error:
            failure = error
            raise
        finally:
            asked = paid is not None
            if _goes_on(job, failure):
                progress.charged = None  # the job speaks for the prompt
            if admission is not None:
                healthy = is_healthy(failure) if asked else None
                self._breaker.report(admission, healthy=healthy)
            # A job that goes on without us is counted by who waits for its end.
            if paid is not None and not _goes_on(job, failure):
                price = 0.0 if end_of(failure) is CallEnd.CERTAIN else self.price
                # A request that the adapter itself turned down reached nobody.
                if not isinstance(failure, InvalidRequest):
                    self._note(failure, seconds or clock() - started, progress, price)
                # Not lost with whoever is cancelled here: the books are kept.
                await asyncio.shield(paid.settle(booked_as(failure), price))
        return Painting(*finished, self.alias, self.price, seconds, painted.origin)

    async def _pay(self, job: JobHandle, spending: PaintingPermit) -> JournalEntry:
        """Reserve the price of a call; a job that was left is reserved already."""
        if job.left is not None:
            self._observer.job_resumed(self.alias)
            return spending.resume(self.alias, self.price, job.left.paid_as)
        paid = await spending.begin(self.alias, self.price)
        job.paid_as = paid.reference
        return paid

    def _seconds_for(self, job: JobHandle) -> float:
        """Return how long a call may take; a job's time began with its submission."""
        if job.left is None:
            return self._deadline_seconds
        age = (datetime.now(UTC) - job.left.begun_at).total_seconds()
        return max(self._deadline_seconds - max(age, 0.0), _LAST_LOOK_SECONDS)

    async def _ask(
        self, request: PaintRequest, job: JobHandle, until: float, *, is_own_cut: bool
    ) -> ProviderPicture:
        try:
            async with asyncio.timeout_at(until) as limit:
                return await self._provider.paint(request, job)
        except (GenerationError, InvalidRequest):
            raise
        except asyncio.CancelledError:
            if job.id is not None and not job.is_kept:
                self._give_up(job.id)
            raise
        except Exception as error:
            if job.id is not None:
                self._give_up(job.id)
            if isinstance(error, TimeoutError) and limit.expired():
                late = GenerationTimedOut("The image provider was not done in time.")
                late.is_own_cut = is_own_cut
                raise late from error
            # Its message may hold a key or the prompt, so only the kind is told.
            _logger.error(  # noqa: TRY400 - the traceback would show the message
                "provider adapter broke",
                extra={"model": self.alias, "error": type(error).__name__},
            )
            raise ProviderFailed(
                "The call to the image provider broke down.", end=CallEnd.AMBIGUOUS
            ) from error

    def _give_up(self, job_id: str) -> None:
        """Cancel a job beside the way: whoever waits hears at once how it ended."""
        task = asyncio.create_task(self.cancel(job_id), name="job-cancellation")
        self._cancelling.add(task)
        task.add_done_callback(self._cancelling.discard)

    def _note(
        self,
        failure: BaseException | None,
        seconds: float,
        progress: Progress,
        price: float,
    ) -> None:
        progress.spent += price
        if failure is not None:
            progress.note_failure(failure, self._hold)
        self._observer.provider_call(
            self._provider.vendor, self.alias, outcome_of(failure), seconds, price
        )


def _goes_on(job: JobHandle, failure: BaseException | None) -> bool:
    """Tell whether the painting is only left, for another leader to finish."""
    return isinstance(failure, asyncio.CancelledError) and job.is_kept


def _never_asked() -> GenerationTimedOut:
    return GenerationTimedOut(
        "The time was up before the provider could be asked.", end=CallEnd.CERTAIN
    )
