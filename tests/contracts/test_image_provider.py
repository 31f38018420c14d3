"""The contract of image providers, for every adapter and fake."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from app.errors import PromptRejected
from app.generation.provider import PaintRequest
from app.generation.providers.placeholder.placeholder import Placeholder
from app.generation.transport import polling
from app.generation.transport.outbound import open_outbound_session
from app.image import Image
from tests.fake_provider import FakeProvider, serve
from tests.fakes import ScriptedProvider
from tests.generation.handles import RecordingKeeper, a_job, left_behind
from tests.generation.vendor_cases import VENDORS, Served

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from app.generation.provider import ImageProvider

LIGHTHOUSE = PaintRequest("a lighthouse in a storm")
CASES = {vendor.name: vendor for vendor in VENDORS}


@dataclass
class Case:
    """A provider that paints, one that refuses, and one that is slow."""

    willing: ImageProvider
    unwilling: ImageProvider
    slow: ImageProvider
    has_jobs: bool = False
    fake: FakeProvider | None = None


@pytest.fixture(params=["placeholder", "scripted", *CASES])
async def case(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Case]:
    """Give each kind of provider."""
    monkeypatch.setattr(polling, "FIRST_PAUSE_SECONDS", 0.005)
    if request.param == "placeholder":
        yield Case(
            Placeholder(),
            Placeholder({"failure": "rejected"}),
            Placeholder({"failure": "timeout"}),
        )
        return
    if request.param == "scripted":
        unwilling, slow = ScriptedProvider(), ScriptedProvider()
        unwilling.script.append(PromptRejected("no"))
        slow.before("paint")
        yield Case(ScriptedProvider(), unwilling, slow)
        return
    vendor, fake = CASES[request.param], FakeProvider()
    async with serve(fake) as origin, open_outbound_session() as session:
        served = Served(origin, session)
        yield Case(
            vendor.adapter(served),
            vendor.adapter(served, model="fake/moderation"),
            vendor.adapter(served, model="fake/never"),
            vendor.has_jobs,
            fake,
        )


async def test_a_picture_comes_with_its_origin(case: Case) -> None:
    """A painted picture is whole and names its vendor and model."""
    painted = await case.willing.paint(LIGHTHOUSE, a_job())

    assert Image.inspect(painted.data).width
    assert painted.origin.vendor == case.willing.vendor
    assert painted.origin.model


async def test_a_refusal_has_an_error_of_its_own(case: Case) -> None:
    """A refused prompt raises `PromptRejected`."""
    if case.unwilling.vendor == "a1111":
        # Its web UI paints whatever it is asked for.
        return
    with pytest.raises(PromptRejected):
        await case.unwilling.paint(LIGHTHOUSE, a_job())


async def test_a_call_that_is_cancelled_ends(case: Case) -> None:
    """A cancelled call ends at once."""
    painting = asyncio.create_task(case.slow.paint(LIGHTHOUSE, a_job()))
    await asyncio.sleep(0.02)
    painting.cancel()
    async with asyncio.timeout(2):
        await asyncio.wait([painting])

    assert painting.cancelled()


async def test_a_job_is_recorded_once(case: Case) -> None:
    """A vendor with jobs records one short job id, any other vendor none."""
    keeper = RecordingKeeper()
    await case.willing.paint(LIGHTHOUSE, a_job(keeper))

    assert len(keeper.kept) == int(case.has_jobs)
    assert all(0 < len(job.id) <= 4096 for job in keeper.kept)


async def test_a_job_that_was_left_is_not_submitted_again(case: Case) -> None:
    """A later call with the recorded job gets its picture without a new submission."""
    if not case.has_jobs:
        return
    assert case.fake
    keeper = RecordingKeeper()
    first = await case.willing.paint(LIGHTHOUSE, a_job(keeper))
    left = RecordingKeeper(left_behind(keeper.kept[0].id))
    again = await case.willing.paint(LIGHTHOUSE, a_job(left))

    assert again.data == first.data
    assert left.kept == []
    assert len(case.fake.calls) == 1


async def test_what_has_ended_can_be_cancelled(case: Case) -> None:
    """Cancelling a job that has ended is no error."""
    keeper = RecordingKeeper()
    await case.willing.paint(LIGHTHOUSE, a_job(keeper))

    await case.willing.cancel(keeper.kept[0].id if keeper.kept else "job-1")


async def test_a_probe_paints_nothing(case: Case) -> None:
    """A probe returns a truth value and paints nothing."""
    assert await case.willing.probe() in {True, False}
    assert not case.fake or case.fake.calls == []
