"""The catalogue: queues, deadlines, checks, fall-backs, spend and metrics."""

from __future__ import annotations

import asyncio
import io
import logging
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import aiohttp
import PIL.Image
import pytest

from app.errors import (
    BadImage,
    BudgetExhausted,
    CallEnd,
    GenerationError,
    GenerationTimedOut,
    InvalidParameter,
    PromptRejected,
    ProviderFailed,
    ProviderRateLimited,
    QueueFull,
)
from app.generation.assemble import build_models
from app.generation.call_times import CallTimes
from app.generation.capabilities import Capabilities
from app.generation.circuit_breaker import ProviderBreaker
from app.generation.commission import Commission
from app.generation.config.models_file import load_models
from app.generation.finishing import Finishing
from app.generation.model_config import ModelConfig
from app.generation.models import CallOutcome, Model, Models, Painting, Progress
from app.generation.painting_queue import PaintingQueue
from app.generation.provider import Origin, PaintRequest, ProviderPicture
from app.generation.providers.placeholder.known_models import PAINTER
from tests.manual_clock import ManualClock

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from app.generation.provider import Job
    from app.generation.spending import JournalEntry

LIGHTHOUSE = PaintRequest("a lighthouse in a storm")
MAX_IMAGE_BYTES = 100_000


def picture(width: int = 40, height: int = 20) -> bytes:
    """Return the bytes of a small PNG."""
    data = io.BytesIO()
    PIL.Image.new("RGB", (width, height), "teal").save(data, "PNG")
    return data.getvalue()


class Call(NamedTuple):
    """One call as an observer gets it."""

    provider: str
    model: str
    outcome: str
    price: float


class RecordingObserver:
    """A `PaintObserver` that records all events."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.ambiguous: list[str] = []
        self.seconds: list[float] = []
        self.watched: dict[str, tuple[Callable[[], int], Callable[[], bool]]] = {}

    def provider_call(
        self, provider: str, model: str, outcome: str, seconds: float, price: float
    ) -> None:
        """Record the call."""
        self.calls.append(Call(provider, model, str(outcome), price))
        self.seconds.append(seconds)

    def ambiguous_end(self, model: str) -> None:
        """Record the model."""
        self.ambiguous.append(model)

    def job_resumed(self, model: str) -> None:
        """Ignore the job; jobs have tests of their own."""

    def watch(
        self, model: str, *, waiting: Callable[[], int], is_resting: Callable[[], bool]
    ) -> None:
        """Record the gauges."""
        self.watched[model] = (waiting, is_resting)


CAPABLE = Capabilities("scripted", PAINTER)


@dataclass
class ScriptedProvider:
    """An `ImageProvider` that answers by a script, behind a gate."""

    answer: bytes | BaseException = field(default_factory=picture)
    vendor: str = "scripted"
    capabilities: Capabilities = CAPABLE
    takes_addresses: bool = False
    job_id: str | None = None
    calls: int = 0
    running: int = 0
    max_running: int = 0
    open: asyncio.Event = field(default_factory=asyncio.Event)
    asked: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(0))

    def __post_init__(self) -> None:
        self.open.set()

    async def paint(self, request: PaintRequest, job: Job) -> ProviderPicture:
        """Answer once the gate is open."""
        self.calls += 1
        self.running += 1
        self.max_running = max(self.max_running, self.running)
        self.asked.release()
        if self.job_id is not None:
            await job.begun(self.job_id)
        try:
            await self.open.wait()
        finally:
            self.running -= 1
        if isinstance(self.answer, BaseException):
            raise self.answer
        return ProviderPicture(self.answer, Origin(self.vendor, "scripted-1"))

    async def cancel(self, job_id: str) -> bool:
        """Do nothing, since there are no jobs."""
        return False

    async def probe(self) -> bool:
        """Return False, since no question is free."""
        return False


def closed_provider(
    answer: bytes | BaseException | None = None,
) -> ScriptedProvider:
    """Return a provider whose calls wait until a test opens its gate."""
    provider = ScriptedProvider(answer or picture())
    provider.open.clear()
    return provider


@pytest.fixture
def observer() -> RecordingObserver:
    """Return the observer of all models of a test."""
    return RecordingObserver()


@pytest.fixture
def catalogue(observer: RecordingObserver) -> Callable[..., Models]:
    """Return a function that makes a catalogue of configurations and providers."""

    def make(
        *pairs: tuple[ModelConfig, ScriptedProvider],
        breaker: ProviderBreaker | None = None,
        timeout: float = 30.0,
    ) -> Models:
        return Models(
            {
                config.alias: Model(
                    config,
                    provider,
                    finishing=Finishing(max_image_bytes=MAX_IMAGE_BYTES, marks=False),
                    observer=observer,
                    generation_timeout_seconds=timeout,
                    breaker=breaker,
                )
                for config, provider in pairs
            }
        )

    return make


def config(alias: str = "default", **terms: object) -> ModelConfig:
    """Return a model's configuration with a price of four cents."""
    return ModelConfig(alias, "scripted", **{"price": 0.04, **terms})  # type: ignore[arg-type]


def soon(seconds: float = 30.0) -> float:
    """Return the deadline in *seconds*."""
    return asyncio.get_running_loop().time() + seconds


def paint(
    models: Models, progress: Progress | None = None, *, within: float = 30.0
) -> asyncio.Task[Painting]:
    """Start a painting by `default`, and run it until it waits."""
    return asyncio.create_task(
        models.paint(
            "default",
            Commission(
                request=LIGHTHOUSE,
                deadline=soon(within),
                progress=progress or Progress(),
            ),
        )
    )


async def settle() -> None:
    """Run every task that is ready."""
    for _ in range(5):
        await asyncio.sleep(0)


async def test_a_painting_says_who_painted_it(
    catalogue: Callable[..., Models], observer: RecordingObserver
) -> None:
    """A painting has the alias, price, origin and duration of its call."""
    models = catalogue((config(), ScriptedProvider(picture(40, 20))))

    painting = await paint(models)

    assert painting.image.data == picture(40, 20)
    assert (painting.model, painting.price) == ("default", 0.04)
    assert painting.origin == Origin("scripted", "scripted-1")
    assert [painting.seconds] == observer.seconds
    assert observer.calls == [Call("scripted", "default", "ok", 0.04)]


async def test_the_size_asked_for_is_delivered(
    catalogue: Callable[..., Models],
) -> None:
    """A picture in another size is resized to the requested one."""
    models = catalogue((config(), ScriptedProvider(picture(40, 20))))
    request = PaintRequest("a red fox", width=64, height=65)

    image = (
        await models.paint("default", Commission(request=request, deadline=soon()))
    ).image

    assert (image.width, image.height) == (64, 65)


async def test_never_more_at_once_than_the_model_allows(
    catalogue: Callable[..., Models],
) -> None:
    """Twenty paintings share the model's three slots, and all are painted."""
    provider = closed_provider()
    models = catalogue((config(concurrency=3, queue=17), provider))
    tasks = [paint(models) for _ in range(20)]
    await settle()

    provider.open.set()
    await asyncio.gather(*tasks)

    assert (provider.calls, provider.max_running) == (20, 3)


async def test_a_full_queue_refuses_at_once(
    catalogue: Callable[..., Models], observer: RecordingObserver
) -> None:
    """A full queue refuses at once, without a call or a fall-back."""
    provider, spare = closed_provider(), ScriptedProvider()
    models = catalogue(
        (config(concurrency=1, queue=1, fallbacks=("spare",)), provider),
        (config("spare"), spare),
    )
    accepted = [paint(models), paint(models)]
    await settle()

    with pytest.raises(QueueFull) as caught:
        await paint(models)

    assert caught.value.retry_after
    assert caught.value.retry_after > timedelta(0)
    assert (provider.calls, spare.calls, observer.calls) == (1, 0, [])
    provider.open.set()
    await asyncio.gather(*accepted)


async def test_a_waiting_request_has_its_position(
    catalogue: Callable[..., Models],
) -> None:
    """A waiting request has its position in the queue."""
    provider = closed_provider()
    models = catalogue((config(concurrency=1), provider))
    watched = [Progress() for _ in range(3)]
    tasks = [paint(models, progress) for progress in watched]
    await settle()

    assert [progress.queue_position for progress in watched] == [None, 1, 2]
    assert [progress.is_running for progress in watched] == [True, False, False]

    tasks[1].cancel()
    await settle()
    assert watched[2].queue_position == 1
    provider.open.set()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert [progress.spent for progress in watched] == [0.04, 0.0, 0.04]


async def test_paintings_are_served_in_order(catalogue: Callable[..., Models]) -> None:
    """Waiting paintings begin in the order of arrival."""
    models = catalogue((config(concurrency=1), ScriptedProvider()))
    order: list[int] = []

    async def wait(number: int) -> None:
        await paint(models)
        order.append(number)

    await asyncio.gather(*(wait(number) for number in range(8)))

    assert order == list(range(8))


@pytest.mark.parametrize("victims", [(0,), (1,), (0, 1), (1, 2), (0, 1, 2, 3)])
async def test_a_cancelled_painting_leaves_its_place(
    catalogue: Callable[..., Models], victims: tuple[int, ...]
) -> None:
    """A cancelled request frees its slot or its position."""
    provider = closed_provider()
    models = catalogue((config(concurrency=1, queue=3), provider))
    tasks = [paint(models) for _ in range(4)]
    await settle()

    for victim in victims:
        tasks[victim].cancel()
    provider.open.set()
    ends = await asyncio.gather(*tasks, return_exceptions=True)

    assert [number for number, end in enumerate(ends) if not isinstance(end, Painting)]
    assert all(isinstance(ends[n], asyncio.CancelledError) for n in victims)
    # One place and three to wait are free again: four fit, and a fifth does not.
    provider.open.clear()
    again = [paint(models) for _ in range(5)]
    await settle()
    provider.open.set()
    ends = await asyncio.gather(*again, return_exceptions=True)
    assert [type(end) for end in ends] == [Painting] * 4 + [QueueFull]


@pytest.mark.parametrize("cancelled_first", [True, False])
async def test_a_turn_that_meets_its_cancellation_goes_on(
    *, cancelled_first: bool
) -> None:
    """A slot given to a request that is being cancelled goes to the next one.

    1. The first gives its slot up. 2. In the same turn of the event loop the second,
    whose turn it is, is cancelled. 3. The third must get the slot.
    """
    queue = PaintingQueue(1, 2, CallTimes(1.0))
    release = await queue.acquire("first", soon())
    second = asyncio.create_task(queue.acquire("second", soon()))
    third = asyncio.create_task(queue.acquire("third", soon()))
    await settle()
    assert queue.position_of("third") == 2

    if cancelled_first:
        second.cancel()
        release()
    else:
        release()
        second.cancel()
    await settle()

    assert second.cancelled()
    (await third)()
    (await queue.acquire("fourth", soon()))()


async def test_a_call_ends_at_the_models_deadline(
    catalogue: Callable[..., Models], observer: RecordingObserver
) -> None:
    """A call that hangs ends at the model's deadline, as ambiguous."""
    provider = closed_provider()
    models = catalogue((config(deadline_seconds=0.05), provider))

    with pytest.raises(GenerationTimedOut) as caught:
        await paint(models)

    assert caught.value.end is CallEnd.AMBIGUOUS
    assert provider.running == 0
    assert observer.calls == [Call("scripted", "default", "timeout", 0.04)]
    assert 0.05 <= observer.seconds[0] < 10


async def test_the_smaller_deadline_wins(
    catalogue: Callable[..., Models], observer: RecordingObserver
) -> None:
    """A call ends at the generation's deadline if that is earlier."""
    provider = closed_provider()
    models = catalogue((config(deadline_seconds=3600), provider), timeout=0.05)

    with pytest.raises(GenerationTimedOut):
        await paint(models, within=0.05)

    assert observer.calls[0].outcome == "timeout"
    assert observer.seconds[0] < 10


async def test_waiting_in_the_queue_is_bounded_and_free(
    catalogue: Callable[..., Models], observer: RecordingObserver
) -> None:
    """A deadline that passes in the queue is `QueueFull` and costs nothing."""
    provider = closed_provider()
    models = catalogue((config(concurrency=1), provider), timeout=0.05)
    first = paint(models)
    await settle()

    with pytest.raises(QueueFull) as caught:
        await paint(models, within=0.05)

    assert caught.value.retry_after
    assert (provider.calls, observer.calls) == (1, [])
    provider.open.set()
    await first


async def test_a_passed_deadline_makes_no_call(
    catalogue: Callable[..., Models],
) -> None:
    """A painting whose deadline has passed makes no call."""
    provider = ScriptedProvider()
    models = catalogue((config(), provider))

    with pytest.raises(QueueFull):
        await paint(models, within=-1)

    assert provider.calls == 0


@pytest.mark.parametrize(
    ("answer", "error", "end"),
    [
        (PromptRejected("no"), PromptRejected, ("rejected", 0.0)),
        (ProviderRateLimited("slow"), ProviderRateLimited, ("rate_limited", 0.0)),
        (ProviderFailed("502"), ProviderFailed, ("failed", 0.0)),
        (
            ProviderFailed("cut", end=CallEnd.AMBIGUOUS),
            ProviderFailed,
            ("failed", 0.04),
        ),
        (GenerationTimedOut("late"), GenerationTimedOut, ("timeout", 0.04)),
        (BadImage("HTML"), BadImage, ("bad_image", 0.04)),
        (b"<html>", BadImage, ("bad_image", 0.04)),
        (b"", BadImage, ("bad_image", 0.04)),
        (picture()[:40], BadImage, ("bad_image", 0.04)),
        (picture() + bytes(MAX_IMAGE_BYTES), BadImage, ("bad_image", 0.04)),
        (KeyError("data"), ProviderFailed, ("failed", 0.04)),
        (TimeoutError(), ProviderFailed, ("failed", 0.04)),
    ],
)
async def test_each_failure_is_raised_counted_and_charged(
    catalogue: Callable[..., Models],
    observer: RecordingObserver,
    answer: bytes | Exception,
    error: type[Exception],
    end: tuple[str, float],
) -> None:
    """Each failure is raised, counted with its outcome, and charged."""
    models = catalogue((config(), ScriptedProvider(answer)))
    progress = Progress()

    with pytest.raises(error) as caught:
        await paint(models, progress)

    assert type(caught.value) is error
    assert observer.calls == [Call("scripted", "default", *end)]
    assert progress.spent == end[1]


async def test_a_request_that_the_adapter_refuses_is_no_call(
    catalogue: Callable[..., Models], observer: RecordingObserver
) -> None:
    """A request that the adapter refuses is not counted and costs nothing."""
    refusal = InvalidParameter("references", "The model takes no references.")
    models = catalogue((config(), ScriptedProvider(refusal)))
    progress = Progress()

    with pytest.raises(InvalidParameter):
        await paint(models, progress)

    assert (observer.calls, progress.spent) == ([], 0.0)


async def test_a_cancelled_call_may_be_billed(
    catalogue: Callable[..., Models], observer: RecordingObserver
) -> None:
    """A cancelled call is counted as failed, at its full price."""
    provider = closed_provider()
    models = catalogue((config(), provider))
    progress = Progress()
    task = paint(models, progress)
    await provider.asked.acquire()

    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert progress.spent == 0.04
    assert observer.calls == [Call("scripted", "default", "failed", 0.04)]


async def test_an_adapter_that_breaks_is_logged_without_its_secrets(
    catalogue: Callable[..., Models], caplog: pytest.LogCaptureFixture
) -> None:
    """A bug in an adapter is a failed provider, and its message is not logged."""
    models = catalogue(
        (config(), ScriptedProvider(KeyError("sk-secret, a lighthouse")))
    )

    with pytest.raises(ProviderFailed) as caught:
        await paint(models)

    assert isinstance(caught.value.__cause__, KeyError)
    (record,) = [r for r in caplog.records if r.levelno >= logging.ERROR]
    assert record.message == "provider adapter broke"
    assert "secret" not in caplog.text
    assert "secret" not in str(vars(record))


@pytest.mark.parametrize(
    "failure",
    [
        ProviderRateLimited("slow"),
        ProviderFailed("500"),
        ProviderFailed("The job failed.", end=CallEnd.BILLED),
        BadImage("HTML"),
        GenerationTimedOut("Never asked.", end=CallEnd.CERTAIN),
        InvalidParameter("references", "none, please"),
    ],
)
async def test_a_fallback_paints_instead(
    catalogue: Callable[..., Models], failure: Exception
) -> None:
    """After a failure the fall-back paints under its own name and price."""
    models = catalogue(
        (config(fallbacks=("spare",)), ScriptedProvider(failure)),
        (config("spare", price=0.01), ScriptedProvider()),
    )

    painting = await paint(models)

    assert (painting.model, painting.price) == ("spare", 0.01)


AMBIGUOUS = [
    GenerationTimedOut("late"),
    ProviderFailed("cut", end=CallEnd.AMBIGUOUS),
    KeyError("data"),
]


@pytest.mark.parametrize("failure", AMBIGUOUS)
async def test_nothing_more_is_paid_after_an_ambiguous_end(
    catalogue: Callable[..., Models], failure: Exception
) -> None:
    """After an ambiguous end no fall-back is called, and the prompt is held."""
    spare = ScriptedProvider()
    models = catalogue(
        (
            config(fallbacks=("spare",), ambiguous_hold_seconds=45),
            ScriptedProvider(failure),
        ),
        (config("spare"), spare),
    )
    progress = Progress()

    with pytest.raises(GenerationError):
        await paint(models, progress)

    assert spare.calls == 0
    assert progress.hold == timedelta(seconds=45)


@pytest.mark.parametrize("failure", AMBIGUOUS)
async def test_an_operator_may_want_the_fallback_all_the_same(
    catalogue: Callable[..., Models], failure: Exception
) -> None:
    """With `fallback_when_ambiguous` the fall-back is called after an ambiguous end."""
    models = catalogue(
        (
            config(fallbacks=("spare",), fallback_when_ambiguous=True),
            ScriptedProvider(failure),
        ),
        (config("spare", price=0.01), ScriptedProvider()),
    )
    progress = Progress()

    painting = await paint(models, progress)

    assert painting.model == "spare"
    assert progress.spent == 0.05


async def test_a_hold_outlasts_what_the_fallback_said(
    catalogue: Callable[..., Models],
) -> None:
    """The prompt is held for the first ambiguous end, whatever the fall-back does."""
    models = catalogue(
        (
            config(fallbacks=("spare",), fallback_when_ambiguous=True),
            ScriptedProvider(GenerationTimedOut("late")),
        ),
        (config("spare"), ScriptedProvider(ProviderFailed("500"))),
    )
    progress = Progress()

    with pytest.raises(ProviderFailed):
        await paint(models, progress)

    assert progress.hold == timedelta(seconds=60)


class Purse:
    """A `Spending` with *left* to spend."""

    def __init__(self, left: float) -> None:
        self.left = left
        self.settled: list[tuple[str, float]] = []
        self.reference = ""

    async def begin(self, model: str, price: float) -> JournalEntry:
        """Permit a call that costs no more than is left."""
        if price > self.left:
            raise BudgetExhausted("The purse is empty.")
        self.left -= price
        return self

    def resume(self, model: str, price: float, reference: str) -> JournalEntry:
        """Return the purse itself."""
        return self

    async def settle(self, outcome: CallOutcome, amount: float) -> None:
        """Record the end of a call."""
        self.settled.append((str(outcome), amount))


async def test_a_cheaper_fallback_is_asked_where_the_budget_refuses(
    catalogue: Callable[..., Models],
) -> None:
    """A model beyond the budget is skipped for a cheaper fall-back."""
    dear, as_dear, cheap = ScriptedProvider(), ScriptedProvider(), ScriptedProvider()
    models = catalogue(
        (config(price=0.5, fallbacks=("as_dear", "cheap")), dear),
        (config("as_dear", price=0.5), as_dear),
        (config("cheap", price=0.1), cheap),
    )

    painting = await models.paint(
        "default", Commission(request=LIGHTHOUSE, deadline=soon(), permit=Purse(0.2))
    )

    assert painting.model == "cheap"
    assert (dear.calls, as_dear.calls) == (0, 0)


async def test_a_billed_failure_is_known_where_the_budget_ends_the_chain(
    catalogue: Callable[..., Models],
) -> None:
    """If the budget ends the chain, an earlier billed failure is still recorded."""
    models = catalogue(
        (config(fallbacks=("dear",)), ScriptedProvider(b"<html>")),
        (config("dear", price=0.5), ScriptedProvider()),
    )
    progress = Progress()

    with pytest.raises(BudgetExhausted):
        await models.paint(
            "default",
            Commission(
                request=LIGHTHOUSE,
                deadline=soon(),
                progress=progress,
                permit=Purse(0.2),
            ),
        )

    assert isinstance(progress.charged, BadImage)


@pytest.mark.parametrize(
    ("answer", "entry"),
    [
        (GenerationTimedOut("late"), ("unknown", 0.04)),
        (ProviderFailed("cut", end=CallEnd.AMBIGUOUS), ("unknown", 0.04)),
        (BadImage("HTML"), ("bad_image", 0.04)),
        (PromptRejected("no"), ("rejected", 0.0)),
        (PromptRejected("withheld", end=CallEnd.BILLED), ("rejected", 0.04)),
        (ProviderFailed("500"), ("failed", 0.0)),
    ],
)
async def test_the_journal_has_what_a_call_may_have_cost(
    catalogue: Callable[..., Models],
    observer: RecordingObserver,
    answer: Exception,
    entry: tuple[str, float],
) -> None:
    """An ambiguous end is journaled as unknown at its price, a certain one as free."""
    models = catalogue((config(), ScriptedProvider(answer)))
    purse = Purse(1.0)

    with pytest.raises(GenerationError):
        await models.paint(
            "default", Commission(request=LIGHTHOUSE, deadline=soon(), permit=purse)
        )

    assert purse.settled == [entry]
    assert observer.ambiguous == (["default"] if entry[0] == "unknown" else [])


async def test_all_calls_on_the_way_are_charged(
    catalogue: Callable[..., Models], observer: RecordingObserver
) -> None:
    """The charges of a failed model and of its fall-back add up."""
    models = catalogue(
        (config(price=0.5, fallbacks=("spare",)), ScriptedProvider(b"<html>")),
        (config("spare", price=0.25), ScriptedProvider()),
    )
    progress = Progress()

    await paint(models, progress)

    assert progress.spent == 0.75
    assert observer.calls == [
        Call("scripted", "default", "bad_image", 0.5),
        Call("scripted", "spare", "ok", 0.25),
    ]


async def test_a_refusal_is_final(catalogue: Callable[..., Models]) -> None:
    """A refused prompt is not sent to the fall-back."""
    spare = ScriptedProvider()
    models = catalogue(
        (config(fallbacks=("spare",)), ScriptedProvider(PromptRejected("no"))),
        (config("spare"), spare),
    )

    with pytest.raises(PromptRejected):
        await paint(models)

    assert spare.calls == 0


async def test_fallbacks_are_asked_in_order_and_once(
    catalogue: Callable[..., Models], observer: RecordingObserver
) -> None:
    """Fall-backs are called depth first, each once, and the last failure is raised."""
    broken = ScriptedProvider(ProviderFailed("502"))
    models = catalogue(
        (config(fallbacks=("near", "far")), broken),
        (config("near", fallbacks=("last",)), broken),
        (
            config("far", fallbacks=("last",)),
            ScriptedProvider(ProviderRateLimited("x")),
        ),
        (config("last"), broken),
    )

    with pytest.raises(ProviderRateLimited):
        await paint(models)

    assert [call.model for call in observer.calls] == ["default", "near", "last", "far"]


async def test_a_fallback_with_a_full_queue_is_raised(
    catalogue: Callable[..., Models],
) -> None:
    """A fall-back with a full queue raises `QueueFull`."""
    busy = closed_provider()
    models = catalogue(
        (config(fallbacks=("busy", "idle")), ScriptedProvider(ProviderFailed("502"))),
        (config("busy", concurrency=1, queue=0), busy),
        (config("idle"), ScriptedProvider()),
    )
    first = paint(models)
    await busy.asked.acquire()

    with pytest.raises(QueueFull):
        await paint(models)

    busy.open.set()
    await first


async def test_no_fallback_is_asked_when_the_time_is_up(
    catalogue: Callable[..., Models],
) -> None:
    """Out of time, the first failure is raised without a fall-back."""
    provider, spare = closed_provider(), ScriptedProvider()
    models = catalogue(
        (config(fallbacks=("spare",), fallback_when_ambiguous=True), provider),
        (config("spare"), spare),
        timeout=0.05,
    )

    with pytest.raises(GenerationTimedOut) as caught:
        await paint(models, within=0.05)

    assert caught.value.end is CallEnd.AMBIGUOUS
    assert spare.calls == 0


@pytest.mark.parametrize(
    ("answer", "calls"),
    [
        (ProviderFailed("502"), 5),
        (GenerationTimedOut("late"), 5),
        (KeyError("data"), 5),
        (BadImage("HTML"), 5),
        (b"<html>", 5),
        (PromptRejected("no"), 30),
        (ProviderRateLimited("slow"), 30),
        (InvalidParameter("references", "none, please"), 30),
        (ProviderFailed("422", blames_request=True), 30),
    ],
)
async def test_only_the_providers_own_faults_open_the_breaker(
    catalogue: Callable[..., Models], answer: bytes | Exception, calls: int
) -> None:
    """Five failures of the provider open its breaker; refused prompts do not."""
    provider = ScriptedProvider(answer)
    models = catalogue((config(), provider))

    await asyncio.gather(
        *(
            models.paint("default", Commission(request=LIGHTHOUSE, deadline=soon()))
            for _ in range(30)
        ),
        return_exceptions=True,
    )

    # Eight are asked at once, so a few are under way when the breaker opens.
    assert calls <= provider.calls <= min(30, calls + 7)


async def test_our_own_cuts_rest_no_vendor(catalogue: Callable[..., Models]) -> None:
    """Calls cut by the generation's deadline do not open the breaker."""
    provider = closed_provider()
    models = catalogue((config(concurrency=10), provider), timeout=0.05)

    await asyncio.gather(
        *(paint(models, within=0.05) for _ in range(10)), return_exceptions=True
    )
    provider.open.set()

    assert (await paint(models)).model == "default"


class OnTrial(NamedTuple):
    """A model at rest, whose trial call waits at its provider's gate."""

    clock: ManualClock
    provider: ScriptedProvider
    models: Models
    trial: asyncio.Task[Painting]


async def start_trial(
    catalogue: Callable[..., Models], *, job_id: str | None = None
) -> OnTrial:
    """Open a model's breaker by one failure, and start the trial ten seconds later."""
    clock, provider = ManualClock(), ScriptedProvider(ProviderFailed("502"))
    breaker = ProviderBreaker(failures=1, clock=clock)
    models = catalogue((config(), provider), breaker=breaker)
    with pytest.raises(ProviderFailed):
        await paint(models)
    provider.answer, provider.job_id = picture(), job_id
    provider.open.clear()
    clock.now += 10.0
    trial = paint(models)
    await settle()
    return OnTrial(clock, provider, models, trial)


async def test_a_trial_that_lasts_lets_the_others_pass(
    catalogue: Callable[..., Models],
) -> None:
    """A trial that runs for five seconds lets other calls pass."""
    on_trial = await start_trial(catalogue)

    with pytest.raises(ProviderFailed):
        await paint(on_trial.models)
    on_trial.clock.now += 5.0
    second = paint(on_trial.models)
    on_trial.provider.open.set()

    assert (await on_trial.trial).model == (await second).model == "default"


async def test_a_job_that_was_accepted_ends_the_trial(
    catalogue: Callable[..., Models],
) -> None:
    """A trial that is accepted as a job closes the breaker."""
    on_trial = await start_trial(catalogue, job_id="job-1")

    second = paint(on_trial.models)
    on_trial.provider.open.set()

    assert (await on_trial.trial).model == (await second).model == "default"


async def test_refusals_and_limits_do_not_hide_an_outage(
    catalogue: Callable[..., Models],
) -> None:
    """Refusals and rate limits between failures do not reset their count."""
    clock, provider = ManualClock(), ScriptedProvider()
    breaker = ProviderBreaker(clock=clock)
    models = catalogue((config(), provider), breaker=breaker)
    failed, refused = ProviderFailed("502"), PromptRejected("no")
    limited = ProviderRateLimited("slow")
    for answer in (failed, failed, refused, failed, limited, failed, failed):
        provider.answer = answer
        await asyncio.gather(paint(models), return_exceptions=True)
    assert provider.calls == 7

    provider.answer = refused
    opened_at = clock.now
    for seconds, calls in ((9.9, 7), (10.0, 8), (10.0, 9)):
        clock.now = opened_at + seconds
        await asyncio.gather(paint(models), return_exceptions=True)
        assert provider.calls == calls


async def test_an_open_breaker_makes_no_call_and_frees_the_queue(
    catalogue: Callable[..., Models], observer: RecordingObserver
) -> None:
    """An open breaker fails waiting requests at once, with a hint and no call."""
    provider = closed_provider(ProviderFailed("502"))
    breaker = ProviderBreaker(failures=1)
    models = catalogue((config(concurrency=1), provider), breaker=breaker)
    tasks = [paint(models) for _ in range(3)]
    await provider.asked.acquire()

    provider.open.set()
    ends = await asyncio.gather(*tasks, return_exceptions=True)
    with pytest.raises(ProviderFailed) as caught:
        await paint(models)

    assert [type(end) for end in ends] == [ProviderFailed] * 3
    assert caught.value.retry_after
    assert timedelta(0) < caught.value.retry_after <= timedelta(seconds=10)
    assert (provider.calls, len(observer.calls)) == (1, 1)


async def test_queues_and_rests_can_be_watched(
    catalogue: Callable[..., Models], observer: RecordingObserver
) -> None:
    """Gauges return the current queue length and breaker state."""
    provider = closed_provider(ProviderFailed("502"))
    models = catalogue(
        (config(concurrency=1), provider), breaker=ProviderBreaker(failures=1)
    )
    waiting, is_resting = observer.watched["default"]
    tasks = [paint(models) for _ in range(3)]
    await settle()
    assert (waiting(), is_resting()) == (2, False)

    provider.open.set()
    await asyncio.gather(*tasks, return_exceptions=True)

    assert (waiting(), is_resting()) == (0, True)


async def test_no_request_queues_for_a_model_at_rest(
    catalogue: Callable[..., Models],
) -> None:
    """An open breaker refuses at once, even while its last calls still run."""
    provider = closed_provider()
    breaker = ProviderBreaker(failures=1)
    models = catalogue((config(concurrency=1), provider), breaker=breaker)
    hanging = paint(models)
    await provider.asked.acquire()
    breaker.report(breaker.admit(), healthy=False)

    late = paint(models)
    await settle()

    assert late.done()
    assert isinstance(late.exception(), ProviderFailed)
    provider.open.set()
    await hanging


async def test_a_cancelled_trial_is_followed_by_another(
    catalogue: Callable[..., Models],
) -> None:
    """After a cancelled trial the next call is the trial."""
    on_trial = await start_trial(catalogue)
    with pytest.raises(ProviderFailed):
        await paint(on_trial.models)

    on_trial.trial.cancel()
    await settle()
    on_trial.provider.open.set()

    assert isinstance(await paint(on_trial.models), Painting)


async def test_the_catalogue_knows_its_models(catalogue: Callable[..., Models]) -> None:
    """The catalogue lists its aliases and their prices."""
    models = catalogue(
        (config("fast", price=0.01, fallbacks=("fine",)), ScriptedProvider()),
        (config("fine", price=0.08), ScriptedProvider()),
    )

    assert models.aliases == ("fast", "fine")
    assert "fast" in models
    assert "default" not in models
    assert (models.price_of("fast"), models.price_of("fine")) == (0.01, 0.08)


@pytest.fixture
async def build(observer: RecordingObserver) -> AsyncIterator[Callable[..., Models]]:
    """Give a function that builds models with their own adapters."""
    async with aiohttp.ClientSession() as session:
        yield partial(
            build_models,
            session=session,
            max_image_bytes=16 << 20,
            marks=True,
            observer=observer,
            generation_timeout_seconds=30,
        )


async def test_without_a_file_the_placeholder_paints(
    build: Callable[..., Models], observer: RecordingObserver
) -> None:
    """Without a models file the placeholder paints as `default`."""
    models = build(load_models(None, {}))
    painting = await paint(models)

    assert "default" in models
    assert painting.origin.is_placeholder
    assert observer.calls == [Call("placeholder", "default", "ok", 0.0)]


@pytest.mark.parametrize(
    ("failure", "outcome"),
    [
        ("rejected", "rejected"),
        ("failed", "failed"),
        ("rate_limited", "rate_limited"),
        ("timeout", "timeout"),
        ("broken_image", "bad_image"),
    ],
)
async def test_each_rehearsed_failure_has_its_outcome(
    build: Callable[..., Models],
    observer: RecordingObserver,
    failure: str,
    outcome: str,
) -> None:
    """Each failure of the placeholder is counted under its own outcome."""
    unhappy = ModelConfig(
        "default", "placeholder", deadline_seconds=0.05, options={"failure": failure}
    )
    await asyncio.gather(paint(build({"default": unhappy})), return_exceptions=True)

    assert [call.outcome for call in observer.calls] == [outcome]


async def test_vendors_are_built_with_their_terms(
    build: Callable[..., Models], observer: RecordingObserver
) -> None:
    """A model of the file calls its own address."""
    openai = ModelConfig(
        "default", "openai", model="gpt-image-2", base_url="http://127.0.0.1:9/v1"
    )
    with pytest.raises(ProviderFailed):
        await paint(build({"default": openai}))

    assert [(call.provider, call.outcome) for call in observer.calls] == [
        ("openai", "failed")
    ]
