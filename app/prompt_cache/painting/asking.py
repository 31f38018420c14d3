"""Asking the models: once under the lease, and what failed is remembered."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from app.errors import (
    CacheUnavailable,
    CallEnd,
    GenerationError,
    ProviderFailed,
    ResultDelayed,
)
from app.generation.commission import Commission
from app.generation.provider import PaintRequest, Reference
from app.prompt_cache.entry.prompt_key import OPTIONS
from app.prompt_cache.flight.remembered_failures import RememberedFailure
from app.prompt_cache.painting.counted_permit import CountedPermit

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager

    from app.generation.models import Models, Painting, ReferenceLoader
    from app.generation.painting import Progress
    from app.generation.spending import PaintingPermit
    from app.prompt_cache.entry.prompt_key import Parameters
    from app.prompt_cache.painting.assignment import Assignment
    from app.prompt_cache.painting.kept_job import KeptJob
    from app.prompt_cache.statistics import Statistics
    from app.storage.ports.prompt_index import PromptIndex
    from app.storage.storage_key import Project

    References = Callable[
        [Project, tuple[str, ...]], AbstractAsyncContextManager[ReferenceLoader | None]
    ]

logger = logging.getLogger(__name__)

# A failover of Redis takes as long; the lease is renewed meanwhile.
HOLD_TRIED_FOR_SECONDS = 5.0
RETRY_SECONDS = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class Asking:
    """Has the models paint for a leader; failures are remembered for the prompt."""

    index: PromptIndex
    models: Models
    statistics: Statistics
    references: References

    async def paint(
        self,
        assignment: Assignment,
        keeper: KeptJob,
        permit: PaintingPermit,
        *,
        progress: Progress,
        deadline: float,
    ) -> Painting:
        """Return the painting of a model; raises what `Models.paint` does."""
        project, wanted = str(assignment.key.project), assignment.key.parameters
        lent = self.references(assignment.key.project, wanted.pictures)
        try:
            async with lent as references:
                commission = Commission(
                    request=_request_of(wanted),
                    deadline=deadline,
                    progress=progress,
                    references=references,
                    reference_count=len(wanted.references),
                    keeper=keeper,
                    permit=CountedPermit(
                        permit, self.statistics, assignment.key.project
                    ),
                    may_begin=assignment.may_begin,
                )
                painting = await self.models.paint(wanted.model, commission)
        except BaseException as failure:
            if isinstance(failure, GenerationError):
                self.statistics.failed(project)
            # Also where we are shut down: another replica must not pay at once.
            await asyncio.shield(self._remember_end(assignment, failure, progress))
            raise
        self.statistics.generated(project, painting.seconds)
        return painting

    async def lost(
        self, assignment: Assignment, painting: Painting, keeper: KeptJob
    ) -> GenerationError:
        """Return the failure of a picture that could not be stored, remembered.

        A job has it still, for the next leader; any other was paid for in vain.
        """
        if keeper.is_there:
            failure: ProviderFailed = ResultDelayed("The picture could not be stored.")
            memory = RememberedFailure.of(assignment.key.project, failure)
        else:
            failure = ProviderFailed(
                "The picture was painted, and could not be stored.",
                end=CallEnd.AMBIGUOUS,
            )
            hold = self.models.hold_after(painting.model)
            memory = RememberedFailure.of(assignment.key.project, failure, hold=hold)
        failure.retry_after = memory.retry_after
        await self.remember(assignment, memory, keeps_job=keeper.is_there)
        return failure

    async def remember(
        self,
        assignment: Assignment,
        memory: RememberedFailure,
        *,
        keeps_job: bool = False,
    ) -> None:
        """Remember a failure for the prompt, and release its lease.

        A hold is tried again while Redis is unavailable: it saves a payment.
        """
        clock = asyncio.get_running_loop().time
        until = clock() + (HOLD_TRIED_FOR_SECONDS if memory.is_hold else 0.0)
        while True:
            try:
                await self.index.fail(
                    assignment.key.hash,
                    assignment.lease.token,
                    memory.note,
                    memory.lasts,
                    is_hold=memory.is_hold,
                    keeps_job=keeps_job,
                )
            except CacheUnavailable:
                if clock() >= until:
                    logger.warning("failure is not remembered")
                    return
                await asyncio.sleep(RETRY_SECONDS)
            else:
                return

    async def _remember_end(
        self, assignment: Assignment, failure: BaseException, progress: Progress
    ) -> None:
        """Remember a painting's failure; else the last one that may have been billed.

        1. A model fails, and is billed. 2. The budget refuses its fall-back. 3. The
        refusal is the answer, but the next request must not pay the model again.
        """
        known = failure if isinstance(failure, GenerationError) else progress.charged
        if known is None:
            return
        memory = RememberedFailure.of(assignment.key.project, known, hold=progress.hold)
        # The first answer says when to come back, as the remembered ones do.
        known.retry_after = memory.retry_after
        keeps_job = isinstance(failure, ResultDelayed)
        await self.remember(assignment, memory, keeps_job=keeps_job)


def _request_of(wanted: Parameters) -> PaintRequest:
    return PaintRequest(
        prompt=wanted.prompt,
        aspect_ratio=wanted.aspect_ratio,
        width=wanted.width,
        height=wanted.height,
        seed=wanted.seed,
        variant=wanted.variant,
        mask=_unread_mask(wanted),
        **{name: getattr(wanted, name) for name in OPTIONS},
    )


def _unread_mask(wanted: Parameters) -> Reference | None:
    """Return the mask without its bytes, which are read with the references."""
    if wanted.mask is None or wanted.mask_digest is None:
        return None
    return Reference(b"", "image/png", wanted.mask_digest)
