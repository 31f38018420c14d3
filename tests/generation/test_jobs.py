"""Jobs of a vendor, which outlive the leader that submitted them."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import pytest

from app.errors import (
    BadImage,
    CallEnd,
    GenerationTimedOut,
    ProviderFailed,
    ResultDelayed,
)
from app.generation.capabilities import Capabilities
from app.generation.circuit_breaker import ProviderBreaker
from app.generation.commission import Commission
from app.generation.finishing import Finishing
from app.generation.jobs import Maker
from app.generation.model_config import ModelConfig
from app.generation.models import Model, Models, Progress
from app.generation.provider import Origin, PaintRequest, ProviderPicture, Reference
from app.generation.providers.placeholder.known_models import PAINTER
from app.generation.spending import UNLIMITED
from tests.fakes import a_picture
from tests.generation.handles import RecordingKeeper, left_behind

if TYPE_CHECKING:
    from collections.abc import Callable

    from app.generation.models import Painting
    from app.generation.provider import Job

LIGHTHOUSE = PaintRequest("a lighthouse in a storm")
DEFAULT = ModelConfig("default", "scripted", price=0.04)
SPARE = replace(DEFAULT, alias="spare")
REFERENCE = Reference(a_picture(), "image/png", "0" * 64)


CAPABLE = Capabilities("scripted", PAINTER)


@dataclass
class Vendor:
    """An `ImageProvider` with jobs, each of which waits for the gate to open."""

    vendor: str = "scripted"
    capabilities: Capabilities = CAPABLE
    takes_addresses: bool = True
    submitted: list[PaintRequest] = field(default_factory=list)
    resumed: list[str] = field(default_factory=list)
    cancelled: list[str] = field(default_factory=list)
    polled: asyncio.Event = field(default_factory=asyncio.Event)
    open: asyncio.Event = field(default_factory=asyncio.Event)
    failure: Exception | None = None
    cancel_failure: Exception | None = None
    never_ran: bool = False

    async def paint(self, request: PaintRequest, job: Job) -> ProviderPicture:
        """Submit or resume a job, and wait for the gate."""
        if job.resumed is None:
            self.submitted.append(request)
            await job.begun(f"job-{len(self.submitted)}")
        else:
            self.resumed.append(job.resumed)
        await job.progressed(0.5)
        await job.progressed(0.25)
        self.polled.set()
        await self.open.wait()
        if self.failure is not None:
            raise self.failure
        return ProviderPicture(a_picture(), Origin("scripted", "job-1"))

    async def cancel(self, job_id: str) -> bool:
        """Record the cancellation."""
        self.cancelled.append(job_id)
        if self.cancel_failure is not None:
            raise self.cancel_failure
        return self.never_ran

    async def probe(self) -> bool:
        """Return False, since no question is free."""
        return False


@dataclass
class Counts:
    """A `PaintObserver` that records calls and resumed jobs."""

    calls: list[tuple[str, str, float]] = field(default_factory=list)
    resumed: list[str] = field(default_factory=list)

    def provider_call(
        self, provider: str, model: str, outcome: str, seconds: float, price: float
    ) -> None:
        """Record the call."""
        self.calls.append((model, str(outcome), price))

    def ambiguous_end(self, model: str) -> None:
        """Ignore the end; `test_models` tests it."""

    def job_resumed(self, model: str) -> None:
        """Record the job."""
        self.resumed.append(model)

    def watch(self, model: str, **looks: Callable[[], float]) -> None:
        """Ignore the gauges."""


def models_of(
    *pairs: tuple[ModelConfig, Vendor],
    counts: Counts | None = None,
    breaker: ProviderBreaker | None = None,
) -> Models:
    """Return the catalogue of these models."""
    return Models(
        {
            config.alias: Model(
                config,
                vendor,
                finishing=Finishing(max_image_bytes=100_000, marks=False),
                observer=counts or Counts(),
                generation_timeout_seconds=30,
                breaker=breaker,
            )
            for config, vendor in pairs
        }
    )


async def paint(models: Models, keeper: RecordingKeeper, **more: Any) -> Painting:
    """Paint the lighthouse by `default`."""
    deadline = asyncio.get_running_loop().time() + 30
    return await models.paint(
        "default",
        Commission(request=LIGHTHOUSE, deadline=deadline, keeper=keeper, **more),
    )


async def killed(models: Models, vendor: Vendor, keeper: RecordingKeeper) -> None:
    """Begin a painting; cancel its leader once the job is polled."""
    leader = asyncio.create_task(paint(models, keeper))
    await vendor.polled.wait()
    leader.cancel()
    await asyncio.wait([leader])
    await models.aclose()


async def test_a_job_is_kept_before_it_is_asked_after() -> None:
    """A job's alias and id are recorded before its first poll."""
    vendor, keeper, progress = Vendor(), RecordingKeeper(), Progress()
    painting = asyncio.create_task(
        paint(models_of((DEFAULT, vendor)), keeper, progress=progress)
    )
    await vendor.polled.wait()

    assert [(job.model, job.id) for job in keeper.kept] == [("default", "job-1")]
    assert progress.fraction == 0.5
    vendor.open.set()
    assert (await painting).origin.model == "job-1"


async def test_the_next_leader_goes_on_with_the_job() -> None:
    """The next leader resumes a dead leader's job and pays nothing more."""
    vendor, keeper, counts = Vendor(), RecordingKeeper(), Counts()
    await killed(models_of((DEFAULT, vendor), counts=counts), vendor, keeper)
    assert (vendor.cancelled, counts.calls) == ([], [])

    vendor.open.set()
    await paint(
        models_of((DEFAULT, vendor), counts=counts), RecordingKeeper(keeper.kept[0])
    )

    assert (len(vendor.submitted), vendor.resumed) == (1, ["job-1"])
    assert counts.calls == [("default", "ok", 0.04)]
    assert counts.resumed == ["default"]


async def test_a_job_that_is_not_kept_ends_with_its_leader() -> None:
    """A job that could not be recorded is cancelled with its leader."""
    vendor, counts = Vendor(), Counts()
    await killed(
        models_of((DEFAULT, vendor), counts=counts),
        vendor,
        RecordingKeeper(lost=True),
    )

    assert vendor.cancelled == ["job-1"]
    assert counts.calls == [("default", "failed", 0.04)]


@pytest.mark.usefixtures("eager")
async def test_a_job_is_cancelled_at_the_deadline() -> None:
    """A job is cancelled at the deadline, even if the cancellation fails."""
    vendor = Vendor(cancel_failure=ProviderFailed("away"))
    models = models_of((replace(DEFAULT, deadline_seconds=0.05), vendor))

    with pytest.raises(GenerationTimedOut):
        await paint(models, RecordingKeeper())
    await models.aclose()

    assert vendor.cancelled == ["job-1"]


async def test_a_job_goes_on_at_the_model_that_has_it() -> None:
    """A job is resumed at its own model, and earlier models are not called."""
    first, spare = Vendor(), Vendor()
    spare.open.set()
    job = replace(left_behind("job-7"), model="spare")
    models = models_of((replace(DEFAULT, fallbacks=("spare",)), first), (SPARE, spare))

    painting = await paint(models, RecordingKeeper(job))

    assert painting.model == "spare"
    assert (first.submitted, spare.resumed) == ([], ["job-7"])


async def test_a_job_that_failed_is_followed_by_the_next_model() -> None:
    """After a resumed job fails the next model of the chain is called."""
    first, spare = Vendor(failure=ProviderFailed("no")), Vendor()
    first.open.set()
    spare.open.set()
    models = models_of((replace(DEFAULT, fallbacks=("spare",)), first), (SPARE, spare))

    painting = await paint(models, RecordingKeeper(left_behind("job-7")))

    assert painting.model == "spare"
    assert (first.resumed, len(spare.submitted)) == (["job-7"], 1)


async def test_a_job_of_a_model_that_is_gone_is_not_waited_for() -> None:
    """A job of a model that no longer exists is ignored, and painting begins anew."""
    vendor = Vendor()
    vendor.open.set()
    job = replace(left_behind("job-7"), model="gone")

    await paint(models_of((DEFAULT, vendor)), RecordingKeeper(job))

    assert (len(vendor.submitted), vendor.resumed) == (1, [])


async def test_an_open_breaker_lets_a_job_be_polled() -> None:
    """An open breaker refuses new calls and lets a job be resumed."""
    vendor, breaker = Vendor(), ProviderBreaker(failures=1)
    vendor.open.set()
    breaker.report(breaker.admit(), healthy=False)
    models = models_of((DEFAULT, vendor), breaker=breaker)

    with pytest.raises(ProviderFailed):
        await paint(models, RecordingKeeper())
    await paint(models, RecordingKeeper(left_behind("job-7")))

    assert vendor.resumed == ["job-7"]


@pytest.mark.parametrize("seconds_ago", [119.9, 3600.0])
async def test_a_jobs_time_began_with_its_submission(
    monkeypatch: pytest.MonkeyPatch, seconds_ago: float
) -> None:
    """A resumed job has the rest of its deadline, and one last poll."""
    monkeypatch.setattr("app.generation.jobs.LAST_LOOK_SECONDS", 0.05)
    vendor = Vendor()
    models = models_of((DEFAULT, vendor))

    with pytest.raises(GenerationTimedOut):
        await paint(
            models, RecordingKeeper(left_behind("job-7", seconds_ago=seconds_ago))
        )
    await models.aclose()

    assert vendor.cancelled == ["job-7"]


@pytest.mark.parametrize(("never_ran", "cost"), [(False, 0.04), (True, 0.0)])
async def test_row_31_an_abandoned_job_is_cancelled_and_costs_what_the_vendor_says(
    *, never_ran: bool, cost: float
) -> None:
    """An abandoned job is cancelled, and costs its price unless it never ran."""
    vendor, counts = Vendor(never_ran=never_ran), Counts()
    models = models_of((DEFAULT, vendor), counts=counts)

    spent = await models.abandon(left_behind("job-7"), UNLIMITED)

    assert vendor.cancelled == ["job-7"]
    assert spent == cost
    assert counts.calls == [("default", "failed", cost)]


async def test_a_job_at_an_address_that_no_model_has_is_not_sent_there() -> None:
    """A job of an unknown origin gets no request, and its price is recorded."""
    vendor = Vendor()
    elsewhere = Maker("scripted", "", "https://elsewhere.example")
    job = replace(left_behind("job-7"), maker=elsewhere)

    assert await models_of((DEFAULT, vendor)).abandon(job, UNLIMITED) == 0.04
    assert vendor.cancelled == []


@pytest.mark.parametrize("never_ran", [False, True])
@pytest.mark.parametrize("has_run", [False, True])
async def test_a_wait_that_was_ended_costs_nothing_where_the_job_never_ran(
    *, never_ran: bool, has_run: bool
) -> None:
    """A cancelled job is free if the vendor says that it never ran."""

    class Queueing(Vendor):
        async def paint(self, request: PaintRequest, job: Job) -> ProviderPicture:
            await job.begun("job-1")
            if has_run:
                await job.progressed(0.1)
            raise ProviderFailed("no", end=CallEnd.AMBIGUOUS)

    vendor, counts = Queueing(never_ran=never_ran), Counts()
    with pytest.raises(ProviderFailed):
        await paint(models_of((DEFAULT, vendor), counts=counts), RecordingKeeper())

    free = never_ran and not has_run
    assert vendor.cancelled == ["job-1"]
    assert [price for _, _, price in counts.calls] == [0.0 if free else 0.04]


class Delivering(Vendor):
    """A vendor whose job has succeeded and whose picture can't be fetched."""

    async def paint(self, request: PaintRequest, job: Job) -> ProviderPicture:
        """Record the job's success, then fail to deliver."""
        if job.resumed is None:
            await job.begun("job-1")
        job.succeeded()
        raise self.failure or AssertionError


@pytest.mark.parametrize(
    "failure",
    [ProviderFailed("away", end=CallEnd.BILLED), GenerationTimedOut("late")],
)
async def test_a_job_that_succeeded_is_left_to_the_next_leader(
    failure: Exception,
) -> None:
    """A job whose picture can't be fetched yet is left to the next leader."""
    vendor, spare, counts = Delivering(failure=failure), Vendor(), Counts()
    models = models_of(
        (replace(DEFAULT, fallbacks=("spare",)), vendor), (SPARE, spare), counts=counts
    )

    with pytest.raises(ResultDelayed):
        await paint(models, RecordingKeeper())

    assert (vendor.cancelled, spare.submitted, counts.calls) == ([], [], [])


async def test_a_result_that_is_gone_is_billed() -> None:
    """A job whose picture is gone is billed and fails for good."""
    vendor, counts = Delivering(failure=BadImage("gone")), Counts()

    with pytest.raises(BadImage) as failure:
        await paint(models_of((DEFAULT, vendor), counts=counts), RecordingKeeper())

    assert failure.value.end is CallEnd.BILLED
    assert counts.calls == [("default", "bad_image", 0.04)]


async def test_a_job_under_another_price_costs_what_it_was_submitted_for() -> None:
    """A resumed job costs the price at its submission."""
    vendor, counts = Vendor(), Counts()
    vendor.open.set()
    dear = replace(DEFAULT, price=0.5)

    painting = await paint(
        models_of((dear, vendor), counts=counts), RecordingKeeper(left_behind("job-7"))
    )

    assert painting.price == 0.04
    assert counts.calls == [("default", "ok", 0.04)]


async def test_an_alias_that_means_another_model_paints_anew() -> None:
    """M6: if an alias means another model now, its job is cancelled and repainted."""
    vendor, counts, seen = Vendor(), Counts(), []
    vendor.open.set()
    keeper = RecordingKeeper(left_behind("job-7", seconds_ago=3600))

    async def references(
        *, by_address: bool, within_seconds: float, media_types: frozenset[str]
    ) -> tuple[Reference, ...]:
        seen.append(by_address)
        return (REFERENCE,)

    another = replace(DEFAULT, model="another", price=0.5)
    painting = await paint(
        models_of((another, vendor), counts=counts), keeper, references=references
    )

    assert (vendor.cancelled, vendor.resumed) == (["job-7"], [])
    assert [request.references for request in vendor.submitted] == [(REFERENCE,)]
    assert seen == [True]
    assert painting.price == 0.5
    assert counts.calls == [("default", "failed", 0.04), ("default", "ok", 0.5)]
    assert keeper.left is None
    assert keeper.kept[0].maker.model == "another"


async def test_where_nothing_may_begin_no_other_model_is_asked() -> None:
    """With `may_begin=False` a job is resumed and no new call is made."""
    vendor, spare = Vendor(failure=ProviderFailed("no")), Vendor()
    vendor.open.set()
    models = models_of((replace(DEFAULT, fallbacks=("spare",)), vendor), (SPARE, spare))

    with pytest.raises(ProviderFailed):
        await paint(models, RecordingKeeper(left_behind("job-7")), may_begin=False)
    with pytest.raises(ProviderFailed):
        await paint(models, RecordingKeeper(), may_begin=False)

    assert (vendor.resumed, vendor.submitted, spare.submitted) == (["job-7"], [], [])


async def test_references_are_read_once_there_is_a_slot() -> None:
    """References are read when a slot is free, and never for a resumed job."""
    vendor, seen = Vendor(), []

    async def references(
        *, by_address: bool, within_seconds: float, media_types: frozenset[str]
    ) -> tuple[Reference, ...]:
        seen.append(by_address)
        return (REFERENCE,)

    models = models_of((replace(DEFAULT, concurrency=1), vendor))
    paintings = [
        asyncio.create_task(paint(models, RecordingKeeper(), references=references))
        for _ in range(2)
    ]
    await vendor.polled.wait()

    assert seen == [True]
    vendor.open.set()
    await asyncio.gather(*paintings)
    await paint(models, RecordingKeeper(left_behind("job-7")), references=references)
    assert seen == [True, True]
    assert [request.references for request in vendor.submitted] == [(REFERENCE,)] * 2
