"""Scope requests: the scope in a request's path, which needs no key."""

from __future__ import annotations

from typing import TYPE_CHECKING

from app.api.services import SERVICES
from app.errors import InvalidParameter, NotFound
from app.spending.scope import ScopeRequest, is_scope_name, new_scope
from app.storage.storage_key import Project

if TYPE_CHECKING:
    from aiohttp import web


async def scope_request_of(request: web.Request) -> ScopeRequest:
    """Return the scope that *request* names; strangers' look-ups are bounded."""
    services, match = request.app[SERVICES], request.match_info
    access, spending = services.access, services.spending
    address = access.addresses.of(request.remote, request.headers)
    look_up = access.scope_look_ups.of(address)
    try:
        project = Project.parse(f"{match['org']}/{match['project']}")
    except InvalidParameter as error:
        raise NotFound("There is no such scope.") from error
    name = match["scope"]
    scope = await spending.scopes.find(project, name, look_up=look_up)
    if scope is not None:
        return ScopeRequest(scope, address)
    if is_scope_name(name):
        rules = await spending.projects.get(project, look_up=look_up)
        if rules.auto_create_scopes and await spending.scopes.may_be_made(project):
            return ScopeRequest(new_scope(project, name), address, is_kept=False)
    raise NotFound("There is no such scope.")
