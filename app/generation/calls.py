"""Calls: one request to a provider, in time, and the end of the job that it began."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from app.errors import (
    BadImage,
    CallEnd,
    GenerationError,
    GenerationTimedOut,
    InvalidRequest,
    PromptRejected,
    ProviderFailed,
    ResultDelayed,
)
from app.generation.jobs import JobState
from app.generation.transport.call_ends import end_of_job

if TYPE_CHECKING:
    from app.generation.jobs import JobHandle
    from app.generation.provider import ImageProvider, PaintRequest, ProviderPicture

_logger = logging.getLogger(__name__)

_CANCEL_WITHIN_SECONDS = 5.0


class Calls:
    """The calls of one model to its provider.

    A job that is abandoned is cancelled, and the failure then says whether it
    may have been billed. One that has succeeded is not abandoned: it is left
    to the next leader (`ResultDelayed`) until its picture is fetched or gone.
    """

    def __init__(self, alias: str, provider: ImageProvider) -> None:
        self._alias = alias
        self._provider = provider
        self._cancelling: set[asyncio.Task[bool]] = set()

    async def ask(
        self, request: PaintRequest, job: JobHandle, until: float, *, is_own_cut: bool
    ) -> ProviderPicture:
        """Return the provider's picture; the last poll is at *until*.

        *is_own_cut* says that *until* is before the model's own deadline.
        """
        try:
            async with asyncio.timeout_at(until) as limit:
                job.time(until, limit)
                return await self._provider.paint(request, job)
        except InvalidRequest:
            raise
        except asyncio.CancelledError:
            if job.id is not None and not job.is_kept:
                self._begin_to_cancel(job.id)
            raise
        except Exception as error:
            failure = self._failure_of(error, limit)
            if isinstance(failure, GenerationTimedOut) and job.deadline <= _now():
                failure.is_own_cut = is_own_cut
            if job.id is not None:
                failure = await self._end_of_job(job, job.id, failure)
            if failure is error:
                raise
            raise failure from error

    async def cancel(self, job_id: str) -> bool:
        """End a job that is abandoned; return whether the vendor says it never ran.

        Takes 5 s at most. A failure is logged.
        """
        try:
            async with asyncio.timeout(_CANCEL_WITHIN_SECONDS):
                return await self._provider.cancel(job_id)
        except Exception as error:  # noqa: BLE001 - there is nothing else to do
            _logger.warning(
                "job is not cancelled",
                extra={"model": self._alias, "error": type(error).__name__},
            )
            return False

    async def aclose(self) -> None:
        """Return once the cancellations that have begun have ended, within 5 s."""
        if self._cancelling:
            await asyncio.wait(self._cancelling)

    def _failure_of(self, error: Exception, limit: asyncio.Timeout) -> GenerationError:
        if isinstance(error, GenerationError):
            return error
        if isinstance(error, TimeoutError) and limit.expired():
            return GenerationTimedOut("The image provider was not done in time.")
        # Its message may hold a key or the prompt, so only the kind is logged.
        _logger.error(
            "provider adapter broke",
            extra={"model": self._alias, "error": type(error).__name__},
        )
        return ProviderFailed(
            "The call to the image provider broke down.", end=CallEnd.AMBIGUOUS
        )

    async def _end_of_job(
        self, job: JobHandle, job_id: str, failure: GenerationError
    ) -> GenerationError:
        """Return *failure* as the end of a call that had begun a job."""
        match job.state:
            case JobState.ENDED:
                return failure
            case JobState.SUCCEEDED:
                if isinstance(failure, BadImage | PromptRejected):
                    return failure
                if job.is_kept:
                    return ResultDelayed(failure.detail)
                failure.end = CallEnd.BILLED
                return failure
            case JobState.RUNNING:
                never_ran = await asyncio.shield(self._begin_to_cancel(job_id))
                if never_ran and not job.has_run:
                    failure.end = CallEnd.CERTAIN
                else:
                    failure.end = end_of_job(failure.end)
                return failure

    def _begin_to_cancel(self, job_id: str) -> asyncio.Task[bool]:
        task = asyncio.create_task(self.cancel(job_id), name="job-cancellation")
        self._cancelling.add(task)
        task.add_done_callback(self._cancelling.discard)
        return task


def _now() -> float:
    return asyncio.get_running_loop().time()
