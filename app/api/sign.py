"""Signing: an address for an `<img>`, made with the project's own key."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from app.access.signed_urls import MAX_EXPIRES_IN_SECONDS
from app.api.admitted_request import CALLER, query_of
from app.api.parameters import JSON_PARAMETERS, QUERY_PARAMETERS, from_json
from app.api.prompt_text import LONGEST_PROMPT
from app.api.rendition_parameters import asked_in_json, require_width
from app.api.services import SERVICES
from app.errors import InvalidParameter, NoSigningKey
from app.http.json_answers import json_answer
from app.http.json_bodies import read_json_object
from app.http.unknown_names import unknown
from app.server.parser_refusals import MAX_TARGET_BYTES
from app.signing import sign_url

if TYPE_CHECKING:
    from collections.abc import Collection

    from aiohttp import web

    from app.access.key_record import KeyRecord
    from app.api.services import Services
    from app.storage.storage_key import Project

DEFAULT_EXPIRES_IN_SECONDS = 3600

_FIELDS = JSON_PARAMETERS - {"references"} | {"expires_in", "kid", "widths"}


class _SignRequest(NamedTuple):
    """The body of a request: a prompt in a URL, and how it is to be signed."""

    prompt: str
    parameters: dict[str, Any]
    widths: list[int] | None
    kid: str | None
    expires_in: int


async def sign(request: web.Request) -> web.Response:
    """Answer with a signed address, and until when it holds."""
    query_of(request, ())
    services, project = request.app[SERVICES], request[CALLER].project
    asked = _read(services, await read_json_object(request))
    record, secret = await _signing_key(services, project, asked.kid)
    exp = int(time.time()) + asked.expires_in

    def signed(**more: int) -> str:
        url = sign_url(
            services.base_url,
            asked.prompt,
            project=str(project),
            kid=record.id,
            secret=secret,
            exp=exp,
            **asked.parameters,
            **more,
        )
        return fitting(services.base_url, url)

    answer: dict[str, Any] = {
        "url": signed(),
        "expires_at": datetime.fromtimestamp(exp, UTC),
    }
    if asked.widths is not None:
        answer["srcset"] = [{"w": w, "url": signed(w=w)} for w in asked.widths]
    return json_answer(answer)


def _read(services: Services, given: dict[str, Any]) -> _SignRequest:
    """Return *given* parsed; a URL that would be refused later is refused now."""
    if "references" in given:
        raise InvalidParameter("references", "A URL has no references.")
    for name in given.keys() - _FIELDS:
        raise unknown(name, _FIELDS)
    expires_in = _expires_in(given.pop("expires_in", DEFAULT_EXPIRES_IN_SECONDS))
    kid = given.pop("kid", None)
    if kid is not None and not isinstance(kid, str):
        raise InvalidParameter("kid", "kid must be the id of a signing key.")
    widths = _widths(given, services.renditions.widths)
    from_json(given, services.models.names, longest_prompt=LONGEST_PROMPT)
    asked_in_json(given, services.renditions.widths)
    prompt = given.pop("prompt")
    parameters = {name: given[name] for name in QUERY_PARAMETERS & given.keys()}
    return _SignRequest(prompt, parameters, widths, kid, expires_in)


async def _signing_key(
    services: Services, project: Project, kid: str | None
) -> tuple[KeyRecord, str]:
    """Return the key *kid*, else the newest; raises `NoSigningKey` without one."""
    found = await services.access.keys.signing_key(project, kid)
    if found is None and kid is not None:
        raise InvalidParameter("kid", "The project has no such signing key.")
    if found is None:
        raise NoSigningKey("The project has no signing key.")
    return found


def fitting(base_url: str, url: str) -> str:
    """Return *url*; raises `InvalidParameter` where the service would not read it."""
    if len(url) - len(base_url) > MAX_TARGET_BYTES:
        raise InvalidParameter(
            "prompt", f"The address would have more than {MAX_TARGET_BYTES} bytes."
        )
    return url


def _widths(given: dict[str, Any], known: Collection[int]) -> list[int] | None:
    """Take the widths of a `srcset` out of *given*; raises `InvalidParameter`."""
    if "widths" not in given:
        return None
    widths = given.pop("widths")
    if not isinstance(widths, list) or not 0 < len(widths) <= len(known):
        raise InvalidParameter("widths", "widths must be a list of widths.")
    if "w" in given:
        raise InvalidParameter("widths", "widths goes without w.")
    if any(type(width) is not int for width in widths):
        raise InvalidParameter("widths", "widths must be whole numbers.")
    if len(set(widths)) < len(widths):
        raise InvalidParameter("widths", "widths must not name a width twice.")
    return [require_width(width, known, "widths") for width in widths]


def _expires_in(value: Any) -> int:
    if type(value) is not int or not 1 <= value <= MAX_EXPIRES_IN_SECONDS:
        raise InvalidParameter(
            "expires_in",
            f"expires_in must be from 1 to {MAX_EXPIRES_IN_SECONDS} seconds.",
        )
    return value
