"""Live scopes: managed by their project."""

from __future__ import annotations

import asyncio
import re
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from app.api.admitted_request import CALLER, project_and_query, project_of
from app.api.services import SERVICES
from app.errors import (
    CacheUnavailable,
    InvalidParameter,
    NotFound,
    StorageUnavailable,
)
from app.http.json_answers import json_answer
from app.http.json_bodies import read_json_object
from app.http.unknown_names import unknown
from app.spending.scope import MAX_LIMIT, MAX_MODELS, is_scope_name

if TYPE_CHECKING:
    from aiohttp import web

    from app.api.services import Services

DEFAULT_PAGE, MAX_PAGE = 50, 200
_FIELDS = {
    "limit": f"a whole number from 0 to {MAX_LIMIT}",
    "allow_new": "true or false",
    "models": f"a list of 1 to {MAX_MODELS} names, each in GET /api/v1/models",
}
_LIMIT = re.compile(r"[1-9][0-9]{0,2}", re.ASCII)


async def put(request: web.Request) -> web.Response:
    """Make a scope, or change what the body names of it."""
    services, project = request.app[SERVICES], project_of(request)
    given = await read_json_object(request)
    changes = {name: _read(services, name, value) for name, value in given.items()}
    scope, is_new = await services.spending.scopes.put(
        project, _name_of(request), changes, by=request[CALLER].name
    )
    generated: int | None = None
    # The change is made: without Redis the answer lacks only what is counted there.
    with suppress(CacheUnavailable, StorageUnavailable):
        generated = await services.spending.scopes.generated(scope)
    return json_answer(scope.as_json(generated), status=201 if is_new else 200)


async def get(request: web.Request) -> web.Response:
    """Answer with one scope."""
    services, project = request.app[SERVICES], project_of(request)
    scope = await services.spending.scopes.find(project, _name_of(request))
    if scope is None:
        raise NotFound("There is no such scope.")
    generated = await services.spending.scopes.generated(scope)
    return json_answer(scope.as_json(generated))


async def list_scopes(request: web.Request) -> web.Response:
    """Answer with a page of the project's scopes, by name."""
    services = request.app[SERVICES]
    project, given = project_and_query(request, {"limit", "cursor"})
    after = given.get("cursor", "")
    if "cursor" in given and not is_scope_name(after):
        raise InvalidParameter("cursor", "cursor is none that was answered.")
    scopes = services.spending.scopes
    page, cursor = await scopes.list(project, limit=_limit(given), after=after)
    counts = await asyncio.gather(*map(scopes.generated, page))
    shown = [scope.as_json(count) for scope, count in zip(page, counts, strict=True)]
    return json_answer({"scopes": shown, "cursor": cursor})


def _limit(given: dict[str, str]) -> int:
    text = given.get("limit", str(DEFAULT_PAGE))
    if not _LIMIT.fullmatch(text) or not 1 <= int(text) <= MAX_PAGE:
        raise InvalidParameter("limit", f"limit must be from 1 to {MAX_PAGE}.")
    return int(text)


async def delete(request: web.Request) -> web.Response:
    """Remove a scope; what it had painted stays in the cache."""
    services, project = request.app[SERVICES], project_of(request)
    await services.spending.scopes.delete(
        project, _name_of(request), by=request[CALLER].name
    )
    return json_answer({"deleted": True})


def _name_of(request: web.Request) -> str:
    name = request.match_info["scope"]
    if not is_scope_name(name):
        raise NotFound("There is no such scope.")
    return name


def _read(services: Services, name: str, value: Any) -> Any:
    match name:
        case "limit":
            is_right = type(value) is int and 0 <= value <= MAX_LIMIT
        case "allow_new":
            is_right = isinstance(value, bool)
        case "models":
            is_right = (
                isinstance(value, list)
                and 1 <= len(value) <= MAX_MODELS
                and all(
                    isinstance(one, str) and one in services.models for one in value
                )
            )
        case _:
            raise unknown(name, _FIELDS)
    if not is_right:
        raise InvalidParameter(name, f"{name} must be {_FIELDS[name]}.")
    return value
