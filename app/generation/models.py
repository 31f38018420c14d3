"""Models: every alias of the models file, and the fall-backs of each."""

from __future__ import annotations

import asyncio
import logging
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from app.errors import (
    BudgetExhausted,
    CallEnd,
    GenerationError,
    InvalidRequest,
    PromptRejected,
    ProviderFailed,
    ResultDelayed,
    ServiceError,
)
from app.generation.config.model_names import ModelNames
from app.generation.jobs import JobHandle, JobKeeper, SubmittedJob
from app.generation.model import Model
from app.generation.painting import (
    CallOutcome,
    Painting,
    PaintObserver,
    Progress,
    ReferenceLoader,
)
from app.generation.transport.call_ends import end_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from app.generation.capabilities import Capabilities
    from app.generation.commission import Commission
    from app.generation.provider import PaintRequest
    from app.generation.spending import PaintingPermit

__all__ = [
    "CallOutcome",
    "JobKeeper",
    "Model",
    "Models",
    "PaintObserver",
    "Painting",
    "Progress",
    "ReferenceLoader",
    "SubmittedJob",
]

_logger = logging.getLogger(__name__)


class Models:
    """Every model of this replica; an alias that is not in it is a `KeyError`."""

    def __init__(self, models: Mapping[str, Model]) -> None:
        self._models = dict(models)
        self.names = ModelNames(models)
        self._chains = {alias: self._chain(alias) for alias in models}

    def __contains__(self, alias: object) -> bool:
        return alias in self._models

    @property
    def aliases(self) -> tuple[str, ...]:
        """The names that a request may give, in the order of the file."""
        return tuple(self._models)

    @property
    def systems(self) -> dict[str, str]:
        """The provider and its model of each alias: what IPTC calls the AI system."""
        return {alias: model.system for alias, model in self._models.items()}

    def price_of(self, alias: str) -> float:
        """Return the price of a picture by *alias* itself."""
        return self._models[alias].price

    async def paint(self, alias: str, commission: Commission) -> Painting:
        """Have *alias*, or after a failure one of its fall-backs, paint.

        Fall-backs are asked in order, each followed by its own. A job that was
        left is waited for, and the models in front of its own are not asked
        again. A model that can't paint the request is not asked; where none
        can, the first one's `InvalidParameter` is raised. Raises `QueueFull`
        where the queue is full or leaves no time, `PromptRejected` of the model
        that refused, and otherwise the last model's failure:
        `ProviderRateLimited`, `ProviderFailed`, `BadImage`,
        `GenerationTimedOut`, or `InvalidRequest` for what it can't paint. The
        permit is asked before each call. What it raises ends the chain; after
        `BudgetExhausted` cheaper fall-backs are still asked.
        """
        left = await self._job_to_wait_for(alias, commission)
        chain = self._models_to_ask(alias, commission, left)
        while True:
            model, *others = chain
            try:
                return await model.paint(commission, _job_of(model, commission, left))
            except (GenerationError, InvalidRequest, BudgetExhausted) as failure:
                chain = [
                    other
                    for other in _next_after(failure, model, others)
                    if other.has_time(commission.deadline)
                ]
                if not chain:
                    raise
                _logger.warning(
                    "falling back",
                    extra={"model": model.alias, "error": type(failure).__name__},
                )

    async def _job_to_wait_for(
        self, alias: str, commission: Commission
    ) -> SubmittedJob | None:
        """Return the job that was left; end it where no model of *alias* has it."""
        left = commission.keeper.left
        if left is None or _since(left, self._chains[alias]):
            return left
        # The models file has changed: painting begins anew.
        commission.progress.spent += await self.abandon(left, commission.permit)
        await commission.keeper.drop()
        return None

    def _models_to_ask(
        self, alias: str, commission: Commission, left: SubmittedJob | None
    ) -> list[Model]:
        """Return the models to ask in order, first the one whose job was *left*.

        Raises `InvalidParameter` where none can paint the request, and
        `ProviderFailed` where only a job that is gone was to be waited for.
        """
        request, count = commission.request, commission.reference_count
        if left is None:
            if not commission.may_begin:
                raise ProviderFailed("The models file no longer names the job's model.")
            return _able(self._chains[alias], request, count)
        first, *others = _since(left, self._chains[alias])
        if not commission.may_begin:
            return [first]
        return [first, *(one for one in others if one.refusal(request, count) is None)]

    def check_references(
        self, alias: str, count: int, *, has_mask: bool = False
    ) -> None:
        """Raise `InvalidParameter` where no model of the chain takes so many."""
        refusals = [
            model.capabilities.refusal(references=count, has_mask=has_mask)
            for model in self._chains[alias]
        ]
        if all(refusals) and refusals[0] is not None:
            raise refusals[0]

    def capabilities_of(self, alias: str) -> Capabilities:
        """Return the capabilities of *alias* itself."""
        return self._models[alias].capabilities

    def hold_after(self, alias: str) -> timedelta:
        """Return how long a prompt rests after a call of *alias* that is lost."""
        return self._models[alias].hold

    async def abandon(self, job: SubmittedJob, permit: PaintingPermit) -> float:
        """End a job that will not be waited for, and book it; return what it cost.

        It costs its price unless the provider says that it never ran. Never
        fails; a provider that does not answer within 5 s is logged.
        """
        model = self._models.get(job.model)
        reaching = (one for one in self._models.values() if _reaches(one, job))
        caller = model if model and _reaches(model, job) else next(reaching, None)
        never_ran = caller is not None and await caller.cancel(job.id)
        price = 0.0 if never_ran else job.price
        entry = permit.resume(job.model, job.price, job.paid_as)
        outcome = CallOutcome.UNKNOWN if price else CallOutcome.FAILED
        await asyncio.shield(entry.settle(outcome, price))
        if model is not None:
            age = datetime.now(UTC) - job.begun_at
            model.note_abandoned(max(0.0, age.total_seconds()), price)
        return price

    async def probe(self, alias: str) -> bool:
        """Ask *alias* for what costs nothing; False where there is no such thing."""
        return await self._models[alias].probe()

    def drain(self, grace_seconds: float) -> None:
        """Begin no call any more that can't end within *grace_seconds*."""
        ends_at = asyncio.get_running_loop().time() + grace_seconds
        for model in self._models.values():
            model.close_at(ends_at)

    async def aclose(self) -> None:
        """Return once the cancellations that have begun have ended, within 5 s."""
        await asyncio.gather(*(model.aclose() for model in self._models.values()))

    def _chain(self, alias: str) -> list[Model]:
        """Return the models to ask for *alias*, in order, each of them once."""
        chain: dict[str, Model] = {}
        waiting = [alias]
        while waiting:
            name = waiting.pop()
            if name not in chain:
                chain[name] = self._models[name]
                waiting.extend(reversed(chain[name].fallbacks))
        return list(chain.values())


def _job_of(
    model: Model, commission: Commission, left: SubmittedJob | None
) -> JobHandle:
    return JobHandle(
        model.alias,
        maker=model.maker,
        price=model.price,
        progress=commission.progress,
        keeper=commission.keeper,
        left=left if left and left.model == model.alias else None,
    )


def _reaches(model: Model, job: SubmittedJob) -> bool:
    return job.maker.is_reached_by(model.maker)


def _since(left: SubmittedJob, chain: list[Model]) -> list[Model]:
    """Return *chain* from the model whose job was left; empty where none has it."""
    for number, model in enumerate(chain):
        if (model.alias, model.maker) == (left.model, left.maker):
            return chain[number:]
    return []


def _next_after(
    failure: ServiceError, model: Model, others: list[Model]
) -> list[Model]:
    """Return which of *others* may be asked after the *failure* of *model*."""
    if isinstance(failure, BudgetExhausted):
        return [other for other in others if other.price < model.price]
    if isinstance(failure, PromptRejected | ResultDelayed):
        return []
    if end_of(failure) is CallEnd.AMBIGUOUS and not model.falls_back_when_ambiguous:
        return []
    return others


def _able(chain: list[Model], request: PaintRequest, count: int) -> list[Model]:
    """Return the models of *chain* that can paint *request*.

    Raises the first one's `InvalidParameter` where none can.
    """
    refusals = [model.refusal(request, count) for model in chain]
    able = [
        model for model, refusal in zip(chain, refusals, strict=True) if refusal is None
    ]
    if not able:
        raise next(refusal for refusal in refusals if refusal is not None)
    return able
