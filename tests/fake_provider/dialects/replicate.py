"""Replicate: predictions that are created, polled and cancelled."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aiohttp import web

from tests.fake_provider.answers import BRUSHES, error, json_answer
from tests.fake_provider.dialects.dialect import PROVIDER, Dialect, pick
from tests.fake_provider.dialects.jobs import (
    ADDRESSES,
    RESULT,
    job_of,
    picture_at,
    poll,
    progress_lines,
    submitted,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.fake_provider.answers import Mode
    from tests.fake_provider.records import Call, Job


_STARTED_AT = "2026-11-01T12:00:01.000Z"


def _prediction(request: web.Request, job: Job, **changes: Any) -> dict[str, Any]:
    """Return a prediction in its current state."""
    origin = request.url.origin()
    at = f"{origin}/v1/predictions/{job.id}"
    return {
        "id": job.id,
        "model": "fake/lighthouse",
        "version": "hidden",
        "input": job.call.body.get("input", {}),
        "output": None,
        "status": "starting",
        "error": None,
        "logs": "",
        "data_removed": False,
        "created_at": "2026-11-01T12:00:00.000Z",
        "started_at": _STARTED_AT if job.polls else None,
        "completed_at": None,
        "metrics": {},
        "urls": {"get": at, "cancel": f"{at}/cancel", "web": f"{origin}/p/{job.id}"},
    } | changes


def _created(request: web.Request, job: Job) -> web.Response:
    """Answer to a submission."""
    return json_answer(_prediction(request, job), 201)


async def _poll(request: web.Request) -> web.StreamResponse:
    """Return the state of a prediction."""
    job, spoiled = await poll(request)
    if spoiled is not None:
        return spoiled
    if job.call.mode == "lost":
        return json_answer({"detail": "Not found."}, 404)
    if job.is_cancelled:
        return json_answer(_prediction(request, job, status="canceled"))
    changes: Any = {"status": "processing", "logs": progress_lines(job)}
    if job.is_done or job.call.mode == "early_output":
        changes = job.outcome(job)
    if not isinstance(changes, dict):
        return json_answer(changes)
    answer = _prediction(request, job, **changes)
    answer["output"] = _filled(answer["output"], str(request.url.origin()))
    return json_answer(answer)


def _filled(output: Any, origin: str) -> Any:
    """Insert the provider's own origin into addresses."""
    if isinstance(output, list):
        return [_filled(item, origin) for item in output]
    if isinstance(output, dict):
        return {name: _filled(item, origin) for name, item in output.items()}
    return output.replace("{origin}", origin) if isinstance(output, str) else output


async def _cancel(request: web.Request) -> web.Response:
    """Cancel a prediction; an ended one stays unchanged."""
    job = await job_of(request)
    await request.app[PROVIDER].cancel(job, request)
    return json_answer(_prediction(request, job, status="canceled"))


async def _account(request: web.Request) -> web.Response:
    """Answer with the owner of a token; this is free of cost."""
    if not request.headers.get("Authorization"):
        return json_answer({"title": "Unauthenticated", "detail": "Who?"}, 401)
    return json_answer({"type": "user", "username": "fake", "name": "Fake"})


def _succeeded(shape: Callable[[str], Any], address: Callable[[Job], str]) -> Mode:
    """Return a mode that ends well, with an output of this *shape*."""
    return submitted(
        lambda job: {"status": "succeeded", "output": shape(address(job))}, _created
    )


def _ended(status: str, said: str | None = None) -> Mode:
    """Return a mode that ends without a picture."""
    return submitted(lambda job: {"status": status, "error": said}, _created)


def _polled(make: Any) -> Mode:
    """Return a mode whose polls answer with *make*, valid or not."""
    return submitted(lambda job: make, _created)


def _refused(status: int, title: str, detail: str, **more: Any) -> Mode:
    """Return a mode that refuses a submission as Replicate does."""
    return error(status, {"title": title, "detail": detail, "status": status} | more)


def _listed(address: str) -> Any:
    return [address]


def _read(call: Call) -> None:
    """Read the prompt from the input."""
    call.prompt = str(pick(call.body, "input", "prompt") or "")


_THROTTLED = "Request was throttled. Your rate limit resets in ~5s."

DIALECT = Dialect(
    name="replicate",
    base_path="/v1",
    example="black-forest-labs/flux-schnell",
    paths=(
        "/v1/predictions",
        "/v1/models/{owner}/{name}/predictions",
        "/v1/deployments/{owner}/{name}/predictions",
    ),
    read=_read,
    has_jobs=True,
    others=(
        web.get("/v1/predictions/{id}", _poll),
        web.post("/v1/predictions/{id}/cancel", _cancel),
        web.get("/v1/account", _account),
    ),
    own_modes={
        name: _succeeded(_listed, picture_at(RESULT, brush))
        for name, brush in BRUSHES.items()
    }
    | {
        name: _succeeded(_listed, picture_at(where))
        for name, where in ADDRESSES.items()
    }
    | {
        "output_text": _succeeded(str, picture_at(RESULT)),
        "output_table": _succeeded(lambda at: {"image": at}, picture_at(RESULT)),
        "output_null": _polled({"status": "succeeded", "output": None}),
        "output_number": _polled({"status": "succeeded", "output": 7}),
        "empty_data": _polled({"status": "succeeded", "output": []}),
        "early_output": submitted(
            lambda job: {
                "status": "processing",
                "output": [picture_at(RESULT)(job)],
            },
            _created,
        ),
        "failed": _ended("failed", "CUDA out of memory (E1001)"),
        "moderation": _ended("failed", "NSFW content detected. Try running it again."),
        "sensitive": _ended(
            "failed", "The input or output was flagged as sensitive. (E005)"
        ),
        "lost": _ended("lost"),
        "canceled": _ended("canceled"),
        "aborted": _ended("aborted"),
        "unknown_status": _ended("pondering"),
        "polled_array": _polled([]),
        "polled_null": _polled(None),
        "missing_data": error(201, {"status": "starting"}),
        "bad_id": error(201, {"id": "../../account", "status": "starting"}),
        "rate_limited": _refused(429, "Too many requests", _THROTTLED),
        "rate_limited_in_body": _refused(
            429, "Too many requests", _THROTTLED, retry_after=5
        ),
        "quota": _refused(402, "Insufficient credit", "Go to your billing page."),
        "server_error": _refused(500, "Internal error", "Something broke."),
        "unavailable": _refused(503, "Unavailable", "Come back later."),
        "unauthenticated": _refused(401, "Unauthenticated", "Invalid token r8_fake."),
        "forbidden": _refused(403, "Forbidden", "Not yours."),
        "not_found": _refused(404, "Not found", "No such model."),
        "bad_request": _refused(
            422, "Input validation failed", "- input.prompt is required\n"
        ),
    },
)
