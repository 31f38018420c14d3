"""Model: one alias at work: its queue, its breaker, one call, the checks."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING

from yarl import URL

from app.errors import (
    CallEnd,
    GenerationTimedOut,
    InvalidRequest,
    QueueFull,
    ResultDelayed,
    ShuttingDown,
)
from app.generation.call_times import CallTimes
from app.generation.calls import Calls
from app.generation.capabilities import OPTIONS
from app.generation.circuit_breaker import ProviderBreaker
from app.generation.jobs import Maker
from app.generation.outcomes import booked_as, is_healthy, outcome_of
from app.generation.painting import CallOutcome, Painting
from app.generation.painting_queue import PaintingQueue
from app.generation.shapes import plan_shape
from app.generation.sizing import white_mask
from app.generation.transport.call_ends import end_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from app.errors import InvalidParameter
    from app.generation.commission import Commission
    from app.generation.finishing import Finishing
    from app.generation.jobs import JobHandle
    from app.generation.model_config import ModelConfig
    from app.generation.painting import PaintObserver, Progress, ReferenceLoader
    from app.generation.provider import ImageProvider, PaintRequest
    from app.generation.spending import JournalEntry, PaintingPermit


class Model:
    """One alias: its provider, called within its limits.

    *generation_timeout_seconds* bounds a whole generation, and thus each call.
    """

    def __init__(
        self,
        config: ModelConfig,
        provider: ImageProvider,
        *,
        finishing: Finishing,
        observer: PaintObserver,
        generation_timeout_seconds: float,
        breaker: ProviderBreaker | None = None,
    ) -> None:
        self.alias = config.alias
        self.price = config.price
        self.system = f"{config.provider} {config.model}".strip()
        self.maker = _maker_of(config)
        self.fallbacks = config.fallbacks
        self.also = config.also
        self.accept = config.accept
        self.falls_back_when_ambiguous = config.fallback_when_ambiguous
        self.hold = timedelta(seconds=config.ambiguous_hold_seconds)
        self.capabilities = provider.capabilities
        self._deadline_seconds = config.deadline_seconds
        longest = min(config.deadline_seconds, generation_timeout_seconds)
        self._queue = PaintingQueue(
            config.concurrency, config.queue, CallTimes(longest)
        )
        self._provider = provider
        self._finishing = finishing
        self._observer = observer
        self._breaker = breaker or ProviderBreaker()
        self._calls = Calls(config.alias, provider)
        observer.watch(
            self.alias,
            waiting=lambda: self._queue.waiting,
            is_resting=lambda: self._breaker.is_open,
        )

    def refusal(
        self, request: PaintRequest, references: int
    ) -> InvalidParameter | None:
        """Return why the model can't paint *request* with that many references."""
        return self.capabilities.refusal(
            references=references,
            has_mask=request.mask is not None,
            options=[
                name
                for name in OPTIONS
                if getattr(request, name) is not None and name not in self.accept
            ],
        )

    async def paint(self, commission: Commission, job: JobHandle) -> Painting:
        """Paint once a slot is free, with one call; see `Models.paint`.

        A job that was left runs already: it needs no slot, and is polled even
        where the breaker is open.
        """
        request, progress = commission.request, commission.progress
        deadline, references = commission.deadline, commission.references
        if job.left is not None:
            progress.is_running = True
            return await self._call(commission, request, job, release=_no_slot)
        self._breaker.check()
        progress.queue = self._queue
        release = await self._queue.acquire(progress, deadline)
        progress.is_running = True
        try:
            if references is not None:
                request = await self._with(references, request, deadline)
            return await self._call(commission, request, job, release=release)
        finally:
            progress.is_running = False
            release()

    def has_time(self, deadline: float) -> bool:
        """Return whether a call that begins now can end by *deadline*."""
        try:
            self._queue.check(deadline)
        except (QueueFull, ShuttingDown):
            return False
        return True

    def close_at(self, moment: float) -> None:
        """Begin no call that can't end by *moment*; see `PaintingQueue.close_at`."""
        self._queue.close_at(moment)

    async def cancel(self, job_id: str) -> bool:
        """End a job that is abandoned; see `Calls.cancel`."""
        return await self._calls.cancel(job_id)

    def note_abandoned(self, seconds: float, price: float) -> None:
        """Count the call of a job that was left and is not waited for."""
        self._observer.provider_call(
            self._provider.vendor, self.alias, CallOutcome.FAILED, seconds, price
        )

    async def probe(self) -> bool:
        """Ask the provider for what costs nothing; see `ImageProvider.probe`."""
        return await self._provider.probe()

    async def aclose(self) -> None:
        """Return once the cancellations that have begun have ended, within 5 s."""
        await self._calls.aclose()

    async def _with(
        self, references: ReferenceLoader, request: PaintRequest, deadline: float
    ) -> PaintRequest:
        endpoint = self.capabilities.endpoint(1)
        try:
            async with asyncio.timeout_at(deadline):
                loaded = await references(
                    by_address=self._provider.takes_addresses,
                    within_seconds=self._deadline_seconds,
                    media_types=endpoint.reference_types,
                )
        except TimeoutError as error:
            raise _never_asked() from error
        if request.mask is None:
            return replace(request, references=loaded)
        *pictures, mask = loaded
        if not endpoint.mask_is_alpha:
            # Its address is that of the mask with transparency.
            white = await asyncio.to_thread(white_mask, mask.data)
            mask = replace(mask, data=white, media_type="image/png", url=None)
        return replace(request, references=tuple(pictures), mask=mask)

    async def _call(
        self,
        commission: Commission,
        request: PaintRequest,
        job: JobHandle,
        *,
        release: Callable[[], None],
    ) -> Painting:
        deadline, progress = commission.deadline, commission.progress
        clock = asyncio.get_running_loop().time
        started = clock()
        if job.left is None:
            # References took time, or it is a fall-back's turn.
            self._queue.check(deadline)
        admission = None if job.left else self._breaker.admit()
        if admission is not None:
            job.on_begun = partial(self._breaker.accepted, admission)
        seconds: float | None = None
        failure: BaseException | None = None
        paid: JournalEntry | None = None
        try:
            # Reserved before the provider is asked, and the clock starts after.
            paid = await self._pay(job, commission.permit)
            started = clock()
            own_deadline = started + self._seconds_for(job)
            painted = await self._calls.ask(
                request,
                job,
                min(deadline, own_deadline),
                is_own_cut=deadline < own_deadline,
            )
            seconds = clock() - started
            if job.left is None:
                self._queue.learn(seconds)
            endpoint = self.capabilities.endpoint(commission.reference_count)
            finished = await self._finishing.finish(
                painted, request, is_shaped=plan_shape(request, endpoint).is_exact
            )
        except BaseException as error:
            failure = error
            raise
        finally:
            asked = paid is not None
            if _goes_on(job, failure):
                progress.charged = None  # the next leader waits for the job
            if admission is not None:
                healthy = is_healthy(failure) if asked else None
                self._breaker.report(admission, healthy=healthy)
            # The provider is free for the next call; the accounts can follow.
            release()
            # A job that goes on without us is counted by the leader that ends it.
            if paid is not None and not _goes_on(job, failure):
                price = 0.0 if end_of(failure) is CallEnd.CERTAIN else job.price
                # A request that the adapter itself refused was not sent.
                if not isinstance(failure, InvalidRequest):
                    self._note(failure, seconds or clock() - started, progress, price)
                # Shielded: a cancelled caller must not lose the settlement.
                await asyncio.shield(paid.settle(booked_as(failure), price))
        return Painting(*finished, self.alias, job.price, seconds, painted.origin)

    async def _pay(self, job: JobHandle, permit: PaintingPermit) -> JournalEntry:
        """Reserve the price of a call; a job that was left is reserved already."""
        if job.left is not None:
            self._observer.job_resumed(self.alias)
            return permit.resume(self.alias, job.price, job.left.paid_as)
        paid = await permit.begin(self.alias, self.price)
        job.paid_as = paid.reference
        return paid

    def _seconds_for(self, job: JobHandle) -> float:
        """Return how long a call may take; a job's time began with its submission."""
        if job.left is None:
            return self._deadline_seconds
        age = (datetime.now(UTC) - job.left.begun_at).total_seconds()
        return max(self._deadline_seconds - max(age, 0.0), 0.0)

    def _note(
        self,
        failure: BaseException | None,
        seconds: float,
        progress: Progress,
        price: float,
    ) -> None:
        progress.spent += price
        if failure is not None:
            progress.note_failure(failure, self.hold)
            if end_of(failure) is CallEnd.AMBIGUOUS:
                self._observer.ambiguous_end(self.alias)
        self._observer.provider_call(
            self._provider.vendor, self.alias, outcome_of(failure), seconds, price
        )


def _maker_of(config: ModelConfig) -> Maker:
    url = URL(config.base_url)
    origin = str(url.origin()) if url.host else ""
    return Maker(config.provider, config.model, origin)


def _goes_on(job: JobHandle, failure: BaseException | None) -> bool:
    """Return whether the job is left for another leader to finish."""
    is_left = isinstance(failure, asyncio.CancelledError) and job.is_kept
    return is_left or isinstance(failure, ResultDelayed)


def _no_slot() -> None:
    """Give nothing back: a job that was left has no slot."""


def _never_asked() -> GenerationTimedOut:
    return GenerationTimedOut(
        "The time was up before the provider could be asked.", end=CallEnd.CERTAIN
    )
