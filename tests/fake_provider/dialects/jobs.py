"""Jobs of vendors with a queue: submitted, polled, cancelled."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

from aiohttp import web

from tests.fake_provider.answers import ANSWERS, BRUSHES
from tests.fake_provider.dialects.dialect import PROVIDER
from tests.fake_provider.faults import FAULTS
from tests.fake_provider.fetching import fetch

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.fake_provider.answers import Brush, Mode
    from tests.fake_provider.behaviour import Behaviour
    from tests.fake_provider.records import Call, Job

    Outcome = Callable[[Job], Any]


def submitted(outcome: Outcome, answer: Callable[[web.Request, Job], Any]) -> Mode:
    """Return a mode that accepts a job and ends it as *outcome* says."""

    async def submit(
        request: web.Request, call: Call, behaviour: Behaviour
    ) -> web.StreamResponse:
        job = await request.app[PROVIDER].take_on(call, behaviour, outcome)
        response: web.StreamResponse = answer(request, job)
        return response

    return submit


async def job_of(request: web.Request) -> Job:
    """Return the job that the request names."""
    job = request.app[PROVIDER].jobs.get(request.match_info["id"])
    if job is None:
        raise web.HTTPNotFound(text='{"detail": "Not found."}')
    return job


async def poll(request: web.Request) -> tuple[Job, web.StreamResponse | None]:
    """Count a poll, and spoil it if the test has set that."""
    job = await job_of(request)
    request.app[PROVIDER].record_poll(request)
    job.polls += 1
    if job.fetches:
        for way in job.fetches.pop(0).split():
            job.fetched += await fetch(job, way)
    if job.faults:
        mode = (FAULTS | ANSWERS)[job.faults.pop(0)]
        return job, await mode(request, job.call, job.behaviour)
    return job, None


def picture_at(text: str, brush: Brush = BRUSHES["ok"]) -> Callable[[Job], str]:
    """Return a function that gives the address of a job's picture.

    *text* contains a place for it.
    """

    def address(job: Job) -> str:
        job.call.picture = brush(job.call, job.behaviour)
        if text == "data:":
            encoded = base64.b64encode(job.call.picture).decode()
            return f"data:image/png;base64,{encoded}"
        return text.format(
            origin=job.behaviour.results_at or "{origin}", number=job.call.number
        )

    return address


# Addresses of the picture; the answer fills in the origin.
ADDRESSES = {
    "url_foreign": "https://pictures.invalid/{number}.png",
    "url_metadata": "http://169.254.169.254/latest/{number}.png",
    "url_redirect": "{origin}/redirects/{number}.png",
    "url_missing": "{origin}/results/missing.png",
    "url_forbidden": "{origin}/expired/{number}.png",
    "data_uri": "data:",
}
RESULT = "{origin}/results/{number}.png"


def progress_lines(job: Job) -> str:
    """Return the lines of a progress bar, as models print them."""
    percent = round(job.fraction * 100)
    bar = "#" * (percent // 10)
    return f"Using seed: 7\n  0%|          | 0/4\n{percent:3d}%|{bar:<10}| 2/4"
