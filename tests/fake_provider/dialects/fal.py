"""fal: a queue whose requests all end as COMPLETED, failures included."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from aiohttp import web

from tests.fake_provider.answers import BRUSHES, error, json_answer
from tests.fake_provider.dialects.dialect import PROVIDER, Dialect
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

_VIOLATION = "content_policy_violation"


@dataclass(frozen=True, slots=True)
class _Ending:
    """The answer at the response address, and additions to the status."""

    document: Any
    status: int = 200
    said: dict[str, Any] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)


def _queued(request: web.Request, job: Job, origin: str | None = None) -> Any:
    """Return fal's answer to a submission: addresses without the sub-path."""
    owner, app = job.call.path.removeprefix("/fal/").split("/")[:2]
    at = f"{origin or request.url.origin()}/fal/{owner}/{app}/requests/{job.id}"
    return {
        "status": "IN_QUEUE",
        "request_id": job.id,
        "response_url": at,
        "status_url": f"{at}/status",
        "cancel_url": f"{at}/cancel",
        "logs": None,
        "metrics": {},
        "queue_position": 0,
    }


def _created(request: web.Request, job: Job) -> web.Response:
    """Answer to a submission."""
    headers = {"x-fal-request-id": job.id}
    return json_answer(_queued(request, job), 200, **headers)


def _astray(name: str, where: str) -> Callable[[web.Request, Job], web.Response]:
    """Return an answer to a submission with the address *name* at another host."""

    def answer(request: web.Request, job: Job) -> web.Response:
        return json_answer(_queued(request, job) | {name: f"{where}/{job.id}"})

    return answer


async def _status(request: web.Request) -> web.StreamResponse:
    """Return the state of a request: 202 until it is done."""
    job, spoiled = await poll(request)
    if spoiled is not None:
        return spoiled
    if job.is_cancelled:
        return json_answer({"detail": "Not found."}, 404)
    if not job.is_done:
        waits: dict[str, Any] = {"status": "IN_QUEUE", "queue_position": 1}
        if job.polls > 1:
            logs = [{"message": progress_lines(job), "level": "INFO"}]
            waits = {"status": "IN_PROGRESS", "logs": logs}
        return json_answer(waits | {"request_id": job.id}, 202)
    ending = job.outcome(job)
    if not isinstance(ending, _Ending):
        return json_answer(ending)
    done = {"status": "COMPLETED", "request_id": job.id, "logs": [], "metrics": {}}
    return json_answer(done | ending.said)


async def _response(request: web.Request) -> web.StreamResponse:
    """Answer with the model's output, or its error."""
    job = await job_of(request)
    if not job.is_done:
        return json_answer({"detail": "Request is still in progress"}, 400)
    ending = job.outcome(job)
    origin = str(request.url.origin())
    return json_answer(
        _filled(ending.document, origin), ending.status, **ending.headers
    )


def _filled(document: Any, origin: str) -> Any:
    """Insert the provider's own origin into addresses."""
    if isinstance(document, list):
        return [_filled(item, origin) for item in document]
    if isinstance(document, dict):
        return {name: _filled(item, origin) for name, item in document.items()}
    if isinstance(document, str):
        return document.replace("{origin}", origin)
    return document


async def _cancel(request: web.Request) -> web.Response:
    """Cancel a request."""
    job = await job_of(request)
    if job.has_ended:
        return json_answer({"status": "ALREADY_COMPLETED"}, 400)
    await request.app[PROVIDER].cancel(job, request)
    return json_answer({"status": "CANCELLATION_REQUESTED"}, 202)


def _ok(address: Callable[[Job], str], *, nsfw: bool = False) -> Mode:
    """Return a mode that ends with a list of one picture."""

    def outcome(job: Job) -> _Ending:
        width, height = job.behaviour.picture_size
        picture = {"url": address(job), "content_type": "image/png"}
        return _Ending(
            {
                "images": [picture | {"width": width, "height": height}],
                "seed": 7,
                "has_nsfw_concepts": [nsfw],
                "prompt": job.call.prompt,
                "timings": {"inference": 1.2},
            }
        )

    return submitted(outcome, _created)


def _ended(document: Any, status: int = 200, **more: Any) -> Mode:
    """Return a mode that ends with this *document*."""
    ending = _Ending(document, status, **more)
    return submitted(lambda job: ending, _created)


def _refused(kind: str, message: str) -> Any:
    """Return fal's error document for a model's own error."""
    detail = {"loc": ["body", "prompt"], "msg": message, "type": kind}
    return {"detail": [detail | {"url": f"https://docs.fal.ai/errors/#{kind}"}]}


def _broken(kind: str) -> Mode:
    """Return a mode that ends with one of fal's own errors."""
    status = 504 if kind.endswith("timeout") else 503
    said = {"error": "It broke.", "error_type": kind}
    document = {"detail": "It broke.", "error_type": kind}
    return _ended(document, status, said=said, headers={"X-Fal-Error-Type": kind})


def _read(call: Call) -> None:
    """Read the prompt; the whole body is the model's input."""
    call.prompt = str(call.body.get("prompt", ""))


DIALECT = Dialect(
    name="fal",
    base_path="/fal",
    example="fal-ai/flux/dev",
    paths=("/fal/{model:.+}",),
    read=_read,
    has_jobs=True,
    others=(
        web.get("/fal/{owner}/{app}/requests/{id}/status", _status),
        web.put("/fal/{owner}/{app}/requests/{id}/cancel", _cancel),
        web.get("/fal/{owner}/{app}/requests/{id}", _response),
    ),
    own_modes={name: _ok(picture_at(RESULT, brush)) for name, brush in BRUSHES.items()}
    | {name: _ok(picture_at(where)) for name, where in ADDRESSES.items()}
    | {
        "single": submitted(
            lambda job: _Ending({"image": {"url": picture_at(RESULT)(job)}}), _created
        ),
        "nsfw": _ok(picture_at(RESULT), nsfw=True),
        "moderation": _ended(_refused(_VIOLATION, "Not allowed."), 422),
        "invalid_input": _ended(_refused("image_too_large", "Too large."), 422),
        "failed": _broken("runner_server_error"),
        "request_timeout": _broken("request_timeout"),
        "unknown_status": submitted(lambda job: {"status": "PONDERING"}, _created),
        "polled_array": submitted(lambda job: [], _created),
        "polled_null": submitted(lambda job: None, _created),
        "empty_data": _ended({"images": []}),
        "output_null": _ended(None),
        "output_array": _ended([]),
        "output_number": _ended({"images": [{"url": 7}]}),
        "status_foreign": submitted(
            lambda job: None, _astray("status_url", "https://queue.invalid")
        ),
        "response_foreign": submitted(
            lambda job: _Ending({}), _astray("response_url", "https://queue.invalid")
        ),
        "missing_data": error(200, {"status": "IN_QUEUE"}),
        "moderation_at_once": error(422, _refused(_VIOLATION, "Not allowed.")),
        "bad_request": error(422, _refused("missing", "Field required.")),
        "rate_limited": error(429, {"detail": "Too many requests"}),
        "quota": error(
            403, {"detail": "User is locked. Reason: Exhausted balance. Top up."}
        ),
        "server_error": error(500, {"detail": "Internal Server Error"}),
        "unavailable": error(503, {"detail": "No runner.", "error_type": "internal"}),
        "unauthenticated": error(401, {"detail": "Invalid key fal-fake."}),
        "forbidden": error(403, {"detail": "Not yours."}),
        "not_found": error(404, {"detail": "Application not found"}),
    },
)
