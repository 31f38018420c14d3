"""Live generation: a prompt in a URL, or in JSON, becomes a picture."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import TYPE_CHECKING

from aiohttp import hdrs
from multidict import istr

from app.access.caller import Audience
from app.access.signed_urls import PARAMETERS as SIGNATURE_PARAMETERS
from app.api.admitted_request import CALLER, LIVE_QUERY, SCOPE_REQUEST, query_of
from app.api.generations import accepted
from app.api.live_answers import send_answer
from app.api.parameters import from_json
from app.api.rendition_parameters import asked_in_json
from app.api.services import SERVICES
from app.errors import (
    InvalidParameter,
    NotFound,
    ReferencesGone,
    StillGenerating,
)
from app.http.error_pictures import AS_PICTURE, ON_ERROR
from app.http.http_errors import PreconditionFailed
from app.http.json_bodies import read_json_object
from app.http.picture_headers import LIVE_VARY
from app.http.preferences import preference_of
from app.prompt_cache.cache import ROUNDS
from app.prompt_cache.entry.prompt_key import PromptKey
from app.prompt_cache.painting.pictures import PictureGone
from app.server.request_context import ERROR_AS_PICTURE, ERROR_HEADERS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aiohttp import web

    from app.access.caller import Caller
    from app.api.rendition_parameters import AskedRendition
    from app.api.services import Services
    from app.generation.spending import Permit
    from app.http.preferences import Preference
    from app.spending.scope import ScopeRequest
    from app.storage.storage_key import Project

_PREFER = istr("Prefer")


async def generate(request: web.Request) -> web.StreamResponse:
    """Return the picture of a prompt; it is painted if it is new."""
    services, key = request.app[SERVICES], _key_from_query(request)
    if hdrs.IF_MATCH in request.headers:
        # It names a picture that exists: nothing is painted.
        found = await _find(request, services, key)
        if found is None:
            raise PreconditionFailed("There is no picture of this prompt yet.")
        return found
    return await _answer(request, services, key, request[LIVE_QUERY].rendition)


async def generate_from_json(request: web.Request) -> web.StreamResponse:
    """Answer like `generate`, for prompts too long for a URL, and references."""
    services = request.app[SERVICES]
    query_of(
        request, SIGNATURE_PARAMETERS if services.access.authenticator.is_off else ()
    )
    document = await read_json_object(request)
    request[ERROR_AS_PICTURE] = document.get(ON_ERROR) == AS_PICTURE
    project = request[CALLER].project
    parameters = from_json(document, services.models.names)
    asked = asked_in_json(document, services.renditions.widths)
    if parameters.references:
        count = len(parameters.references)
        services.models.check_references(parameters.model, count)
        # The same pictures under other ids are the same prompt.
        digests = await _digests(services, project, parameters.references)
        parameters = parameters._replace(reference_digests=digests)
    key = PromptKey(project, parameters)
    return await _answer(request, services, key, asked)


async def _digests(
    services: Services, project: Project, image_ids: Sequence[str]
) -> tuple[str, ...]:
    try:
        return await services.transient_images.reference_pictures.digests(
            project, image_ids
        )
    except ReferencesGone as error:
        raise InvalidParameter("references", error.detail) from error


async def look(request: web.Request) -> web.StreamResponse:
    """Return the answer to HEAD for a painted prompt; it never pays."""
    services = request.app[SERVICES]
    found = await _find(request, services, _key_from_query(request))
    if found is None:
        headers = request.get(ERROR_HEADERS, {"Vary": LIVE_VARY})
        request[ERROR_HEADERS] = {**headers, "X-Cache-Status": "MISS"}
        raise NotFound("This prompt is not painted yet.")
    return found


async def _find(
    request: web.Request, services: Services, key: PromptKey
) -> web.StreamResponse | None:
    """Return the answer for a painted prompt, None for any other."""
    asked, deadline = request[LIVE_QUERY].rendition, _deadline(services)
    for _ in range(ROUNDS):
        answer = await services.prompts.cache.find(key, _permit(request, services))
        if answer is None:
            return None
        with suppress(PictureGone):
            return await send_answer(request, services, answer, asked, deadline)
    raise StillGenerating("The picture is removed faster than it can be read.")


def _key_from_query(request: web.Request) -> PromptKey:
    caller = request[CALLER]
    # With AUTH=off a signed URL works, too: its signature is not checked.
    takes_claims = caller.audience in {Audience.SIGNATURE, Audience.ANYONE}
    key = request[LIVE_QUERY].key_of(caller.project, takes_claims=takes_claims)
    asked = _scope_request(request, caller)
    if asked is not None and key.parameters.model not in asked.scope.models:
        raise InvalidParameter("model", "The scope has no such model.")
    return key


def _permit(request: web.Request, services: Services) -> Permit:
    caller, permits = request[CALLER], services.spending.permits
    asked = _scope_request(request, caller)
    if asked is not None:
        return permits.of_scope_request(asked, caller)
    return permits.of(caller)


def _scope_request(request: web.Request, caller: Caller) -> ScopeRequest | None:
    """Return the request of a scope's visitor, None for any other caller."""
    # `request.get` raises and catches an error for what is not there.
    return request[SCOPE_REQUEST] if caller.audience is Audience.SCOPE else None


def _deadline(services: Services) -> float:
    """Return the end of a request's wait, a time of `time.monotonic`."""
    return time.monotonic() + services.wait_timeout_seconds


async def _answer(
    request: web.Request,
    services: Services,
    key: PromptKey,
    asked: AskedRendition | None,
) -> web.StreamResponse:
    permit, deadline = _permit(request, services), _deadline(services)
    preferred = preferred_wait(request)
    longest = services.wait_timeout_seconds
    for _ in range(ROUNDS):
        try:
            answer = await services.prompts.cache.get_or_generate(
                key,
                permit=permit,
                wait_seconds=longest if preferred is None else preferred.seconds,
                wants_id=preferred is not None,
            )
            return await send_answer(request, services, answer, asked, deadline)
        except PictureGone:
            continue
        except ReferencesGone as error:
            raise InvalidParameter("references", error.detail) from error
        except StillGenerating as error:
            if preferred is None or error.generation_id is None:
                raise
            return await accepted(
                services,
                key.project,
                key.hash,
                error.generation_id,
                preferred,
                headers=request.get(ERROR_HEADERS, {"Vary": LIVE_VARY}),
            )
    raise StillGenerating("The picture is removed faster than it can be read.")


def preferred_wait(request: web.Request) -> Preference | None:
    """Return the wait that `Prefer` asks for, None without one."""
    if _PREFER not in request.headers:
        return None
    return preference_of(
        request.headers.getall(_PREFER),
        max_seconds=request.app[SERVICES].wait_timeout_seconds,
    )
