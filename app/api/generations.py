"""Generations: painting in the background, with events and a state to poll."""

from __future__ import annotations

from contextlib import aclosing, suppress
from typing import TYPE_CHECKING, Any

from aiohttp import web

from app import errors, urls
from app.api.admitted_request import CALLER, project_of
from app.api.services import SERVICES
from app.errors import CacheUnavailable, NotFound
from app.http import server_sent_events
from app.http.json_answers import json_answer, json_bytes
from app.http.problems import problem_document, row_of
from app.prompt_cache.generations.record import new_record
from app.storage.storage_key import Project, is_image_id

if TYPE_CHECKING:
    from collections.abc import Mapping

    from app.api.services import Services
    from app.http.preferences import Preference
    from app.prompt_cache.generations.record import GenerationRecord

ASK_AGAIN_SECONDS = "2"


async def get_generation(request: web.Request) -> web.Response:
    """Answer with the state of one of the project's generations."""
    record = await _own_generation(request)
    headers = {} if record.has_ended else {"Retry-After": ASK_AGAIN_SECONDS}
    return json_answer(_document(record), headers=headers)


async def follow_generation(request: web.Request) -> web.StreamResponse:
    """Answer with the state of a generation whenever it changes, as events.

    A client that reconnects with the id of the last event gets 204: stop.
    """
    services = request.app[SERVICES]
    record = await _own_generation(request)
    seen = request.headers.get("Last-Event-ID")
    if record.has_ended and record.event_id == seen:
        return web.Response(status=204, headers={"Cache-Control": "no-store"})
    response = web.StreamResponse(headers=server_sent_events.HEADERS)
    await response.prepare(request)
    states = services.prompts.generation_events.follow(
        request[CALLER].project,
        record.generation_id,
        seen=seen,
        until=services.lifecycle.drain_began,
    )
    async with aclosing(states):
        async for state in states:
            await response.write(
                server_sent_events.COMMENT if state is None else _event(state)
            )
    return response


def _event(record: GenerationRecord) -> bytes:
    data = json_bytes(_document(record))
    return server_sent_events.event("state", record.event_id, data)


async def _own_generation(request: web.Request) -> GenerationRecord:
    project = project_of(request)
    generation_id = request.match_info["generation_id"]
    record = None
    if is_image_id(generation_id):
        generations = request.app[SERVICES].prompts.generations
        record = await generations.find(project, generation_id)
    if record is None:
        raise NotFound("There is no such generation.")
    return record


async def accepted(
    services: Services,
    project: Project,
    prompt_hash: str,
    generation_id: str,
    preferred: Preference,
    *,
    headers: Mapping[str, str],
) -> web.Response:
    """Return 202 for a painting that goes on (RFC 7240, 4.1 and 4.3).

    *preferred* is what the caller wanted, as it was applied; *headers* are the
    resource's own.
    """
    record = new_record(project, prompt_hash, generation_id)
    # Without Redis the painting goes on: its record only informs clients.
    with suppress(CacheUnavailable):
        record = (
            await services.prompts.generations.find(project, generation_id) or record
        )
    return json_answer(
        _document(record),
        status=202,
        headers={
            "Location": urls.generation(generation_id),
            "Retry-After": ASK_AGAIN_SECONDS,
            "Preference-Applied": preferred.applied,
            **headers,
        },
    )


def _document(record: GenerationRecord) -> dict[str, Any]:
    document = record.as_json()
    kept = record.error
    if kept is not None:
        # Any other error cancelled the painting.
        kind = getattr(errors, kept["kind"], errors.ShuttingDown)
        detail = kept.get("detail", "The painting was called off.")
        document["error"] = problem_document(row_of(kind), detail, kept["request_id"])
    return document
