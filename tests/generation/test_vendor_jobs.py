"""Jobs at Replicate and fal: one submission, polls, and a certain end."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from app.errors import BadImage, CallEnd, GenerationTimedOut, ProviderFailed
from app.generation.commission import Commission
from app.generation.painting import Progress
from app.generation.transport import polling
from tests.generation.handles import (
    RecordingKeeper,
    a_job,
    left_behind,
    picture_by,
)
from tests.generation.vendor_cases import (
    FAL,
    LIGHTHOUSE,
    PROMPT,
    REPLICATE,
    WITH_JOBS,
    Served,
    Vendor,
)

if TYPE_CHECKING:
    from app.generation.jobs import SubmittedJob
    from tests.fake_provider import FakeProvider

pytestmark = pytest.mark.usefixtures("eager")

with_jobs = pytest.mark.parametrize("vendor", WITH_JOBS, ids=lambda vendor: vendor.name)


@with_jobs
async def test_a_job_is_asked_after_until_it_is_done(
    served: Served, provider: FakeProvider, vendor: Vendor
) -> None:
    """A job is submitted once, recorded, and polled until it is done."""
    provider.behave(polls=4)
    keeper, progress = RecordingKeeper(), Progress()
    painted = await vendor.adapter(served).paint(LIGHTHOUSE, a_job(keeper, progress))

    (job,) = provider.jobs.values()
    assert painted.data == provider.calls[0].picture
    assert provider.count(PROMPT) == 1
    assert job.polls == 5
    assert [job.id in kept.id for kept in keeper.kept] == [True]
    assert vendor.key not in keeper.kept[0].id
    assert progress.fraction is not None
    assert 0.5 < progress.fraction < 1.0
    assert all(call.headers["Authorization"] == vendor.value for call in provider.polls)


@with_jobs
async def test_a_job_is_kept_before_it_is_asked_after(
    served: Served, provider: FakeProvider, vendor: Vendor
) -> None:
    """A job is not polled before its id is recorded."""
    may_go_on = asyncio.Event()

    class SlowKeeper(RecordingKeeper):
        async def keep(self, job: SubmittedJob) -> bool:
            await super().keep(job)
            await may_go_on.wait()
            return True

    keeper = SlowKeeper()
    painting = asyncio.create_task(
        vendor.adapter(served).paint(LIGHTHOUSE, a_job(keeper))
    )
    await keeper.has_one.wait()
    await asyncio.sleep(0.05)

    assert provider.polls == []
    may_go_on.set()
    await painting
    assert provider.polls


@pytest.mark.parametrize(
    "faults",
    [
        ("bad_gateway", "reset_before_headers"),
        ("truncated_error", "short_body", "gateway_timeout"),
        ("html", "array"),
    ],
)
@with_jobs
async def test_questions_may_fail(
    served: Served, provider: FakeProvider, *, vendor: Vendor, faults: tuple[str, ...]
) -> None:
    """Passing errors of polls are tolerated."""
    provider.behave(faults=faults, polls=3)

    picture = await picture_by(vendor.adapter(served), LIGHTHOUSE)

    assert picture == provider.calls[0].picture
    assert provider.count(PROMPT) == 1


@with_jobs
async def test_questions_become_fewer(
    served: Served,
    provider: FakeProvider,
    monkeypatch: pytest.MonkeyPatch,
    vendor: Vendor,
) -> None:
    """The pauses between polls grow to a few seconds."""
    pauses: list[float] = []
    sleep = asyncio.sleep

    async def note(seconds: float) -> None:
        if seconds:
            pauses.append(seconds)
        await sleep(0)

    monkeypatch.setattr(polling, "FIRST_PAUSE_SECONDS", 0.3)
    monkeypatch.setattr(polling, "LONGEST_PAUSE_SECONDS", 4.0)
    monkeypatch.setattr("app.generation.transport.polling.asyncio.sleep", note)
    provider.behave(polls=14)
    await picture_by(vendor.adapter(served), LIGHTHOUSE)

    waited = pauses[: provider.jobs[next(iter(provider.jobs))].polls]
    assert waited == sorted(waited)
    assert waited[0] == 0.3
    assert waited[-1] == 4.0


@with_jobs
async def test_a_job_of_a_former_leader_is_gone_on_with(
    served: Served,
    provider: FakeProvider,
    monkeypatch: pytest.MonkeyPatch,
    vendor: Vendor,
) -> None:
    """A recorded job is resumed with a poll at once and no submission."""
    provider.behave("hold", polls=0)
    keeper = RecordingKeeper()
    former = asyncio.create_task(
        vendor.adapter(served).paint(LIGHTHOUSE, a_job(keeper))
    )
    await keeper.has_one.wait()
    former.cancel()
    await asyncio.wait([former])
    provider.release()
    monkeypatch.setattr(polling, "FIRST_PAUSE_SECONDS", 3600.0)

    picture = await vendor.adapter(served).paint(
        LIGHTHOUSE, a_job(RecordingKeeper(keeper.kept[0]))
    )

    assert picture.data == provider.calls[0].picture
    assert provider.count(PROMPT) == 1
    assert provider.cancels == []


@pytest.mark.parametrize("mode", ["hold", "unknown_status"])
@with_jobs
async def test_a_job_is_cancelled_at_the_deadline(
    served: Served, provider: FakeProvider, *, vendor: Vendor, mode: str
) -> None:
    """A job is cancelled at the deadline, even if its status is unknown."""
    provider.behave(mode)
    models = vendor.models(served, deadline_seconds=0.3)
    loop = asyncio.get_running_loop()
    started = loop.time()

    with pytest.raises(GenerationTimedOut):
        await models.paint(
            "default", Commission(request=LIGHTHOUSE, deadline=started + 30)
        )
    seconds = loop.time() - started
    await models.aclose()

    # At once, and not after the five seconds that a cancellation may take.
    assert 0.3 <= seconds < 3
    assert [job.is_cancelled for job in provider.jobs.values()] == [True]
    assert len(provider.cancels) == 1
    assert provider.cancels[0].headers["Authorization"] == vendor.value
    assert provider.polls


@with_jobs
async def test_a_job_that_has_ended_can_be_cancelled(
    served: Served, provider: FakeProvider, vendor: Vendor
) -> None:
    """Cancelling an ended job succeeds."""
    keeper = RecordingKeeper()
    adapter = vendor.adapter(served)
    await adapter.paint(LIGHTHOUSE, a_job(keeper))

    await adapter.cancel(keeper.kept[0].id)
    await adapter.cancel(keeper.kept[0].id)

    assert not any(job.is_cancelled for job in provider.jobs.values())


async def test_a_job_that_replicate_does_not_know_can_not_be_cancelled(
    served: Served,
) -> None:
    """Cancelling a job that Replicate does not know raises."""
    with pytest.raises(ProviderFailed):
        await REPLICATE.adapter(served).cancel("unknown")


@pytest.mark.parametrize("mode", ["status_foreign", "response_foreign"])
async def test_fals_addresses_are_used_at_its_own_origin_only(
    served: Served, provider: FakeProvider, mode: str
) -> None:
    """An address of fal at another host is not called; the end is ambiguous."""
    provider.behave(mode)
    keeper = RecordingKeeper()

    with pytest.raises(BadImage) as failure:
        await FAL.adapter(served).paint(LIGHTHOUSE, a_job(keeper))

    assert failure.value.end is CallEnd.AMBIGUOUS
    assert (keeper.kept, provider.polls) == ([], [])


@pytest.mark.parametrize(
    "job_id",
    [
        '["https://queue.invalid/a","https://queue.invalid/b","https://queue.invalid/c"]',
        "[]",
        "{}",
        "no JSON",
        "[1,2,3]",
        '["/fal/a\\r\\nX: 1","/b","/c"]',
    ],
)
async def test_a_job_of_another_origin_is_not_gone_on_with(
    served: Served, provider: FakeProvider, job_id: str
) -> None:
    """A job recorded at another origin is not resumed."""
    job = a_job(RecordingKeeper(left_behind(job_id)))

    with pytest.raises(BadImage):
        await FAL.adapter(served).paint(LIGHTHOUSE, job)

    assert (provider.calls, provider.polls) == ([], [])
