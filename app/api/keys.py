"""Keys: an admin makes, lists and revokes them; a project its signing keys."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from app.access.caller import Caller, Role
from app.access.key_record import Kind
from app.api.admitted_request import CALLER, query_of
from app.api.services import SERVICES
from app.errors import Forbidden, InvalidParameter, NotFound
from app.http.json_answers import json_answer
from app.http.json_bodies import read_json_object
from app.http.unknown_names import unknown
from app.storage.storage_key import Project

if TYPE_CHECKING:
    from enum import StrEnum

    from aiohttp import web

    from app.access.keys import NewKey

_E = TypeVar("_E", bound="StrEnum")

_FIELDS = frozenset({"project", "role", "kind"})


async def create(request: web.Request) -> web.Response:
    """Make a key and answer with it; it is never shown again."""
    query_of(request, ())
    caller = request[CALLER]
    given = await read_json_object(request)
    for name in given.keys() - _FIELDS:
        raise unknown(name, _FIELDS)
    kind = _one_of(Kind, given, "kind", Kind.API)
    role = _one_of(Role, given, "role", Role.PROJECT)
    project = given.get("project")
    if not isinstance(project, str):
        raise InvalidParameter("project", "project must be org/project.")
    named = Project.parse(project)
    if caller.role is not Role.ADMIN:
        if named != caller.project or kind is not Kind.SIGNING:
            raise Forbidden("A project's key makes its own project's signing keys.")
        if not caller.role.includes(role):
            raise Forbidden("A key can't make one that may do more.")
    keys = request.app[SERVICES].access.keys
    made = await keys.create(named, role, kind, by=caller.name)
    return json_answer(new_key_as_json(made), status=201)


def new_key_as_json(made: NewKey) -> dict[str, Any]:
    """Return a new key as it is shown, once."""
    document = made.record.as_json() | {"key": made.key}
    del document["revoked_at"]
    return document


async def list_keys(request: web.Request) -> web.Response:
    """Answer with keys, without their secrets."""
    caller = request[CALLER]
    named = query_of(request, {"project"}).get("project")
    project = Project.parse(named) if named is not None else None
    if caller.role is not Role.ADMIN:
        if project not in {None, caller.project}:
            raise Forbidden("A project's key lists its own project's signing keys.")
        project = caller.project
    records = await request.app[SERVICES].access.keys.list(project)
    shown = [
        record.as_json()
        for record in records
        if caller.role is Role.ADMIN or record.kind is Kind.SIGNING
    ]
    return json_answer({"keys": shown})


async def revoke(request: web.Request) -> web.Response:
    """Revoke a key; every replica refuses it within five seconds."""
    query_of(request, ())
    caller, key_id = request[CALLER], request.match_info["key_id"]
    keys = request.app[SERVICES].access.keys
    if caller.role is not Role.ADMIN:
        await _require_own_signing_key(request, caller, key_id)
    await keys.revoke(key_id, by=caller.name)
    return json_answer({"revoked": True})


async def _require_own_signing_key(
    request: web.Request, caller: Caller, key_id: str
) -> None:
    record = await request.app[SERVICES].access.keys.find(key_id)
    if record is None or record.project != caller.project:
        raise NotFound("There is no such key.")
    if record.kind is not Kind.SIGNING:
        raise Forbidden("A project's key revokes its own project's signing keys.")


def _one_of(kinds: type[_E], given: dict[str, Any], name: str, default: _E) -> _E:
    value = given.get(name, default)
    try:
        return kinds(value)
    except ValueError:
        known = ", ".join(kinds)
        raise InvalidParameter(name, f"{name} must be one of {known}.") from None
