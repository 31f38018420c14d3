"""Visits: the scope in a request's path, for whoever asks without a key."""

from __future__ import annotations

from typing import TYPE_CHECKING

from app.access.scopes import Visit, is_scope_name, new_scope
from app.api.services import SERVICES
from app.errors import InvalidParameter, NotFound
from app.storage.storage_key import Project

if TYPE_CHECKING:
    from aiohttp import web


async def visit_of(request: web.Request) -> Visit:
    """Return the scope that *request* visits; strangers' look-ups are bounded."""
    access, match = request.app[SERVICES].access, request.match_info
    address = access.addresses.of(request.remote, request.headers)

    def count() -> None:
        access.look_ups.take(address)

    try:
        project = Project.parse(f"{match['org']}/{match['project']}")
    except InvalidParameter as error:
        raise NotFound("There is no such scope.") from error
    name = match["scope"]
    scope = await access.scopes.find(project, name, before_look_up=count)
    if scope is not None:
        return Visit(scope, address)
    if is_scope_name(name):
        rules = await access.projects.get(project, before_look_up=count)
        if rules.auto_create_scopes:
            return Visit(new_scope(project, name), address, is_kept=False)
    raise NotFound("There is no such scope.")
