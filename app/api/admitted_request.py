"""An admitted request, as handlers read it: its caller, project and query."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import web

from app.access.caller import Caller
from app.api.query_cache import LiveQuery
from app.api.services import SERVICES
from app.http.query import parse_query, require_known
from app.spending.scope import ScopeRequest

if TYPE_CHECKING:
    from collections.abc import Collection

    from app.storage.storage_key import Project

# Set by `admission`, before the handler runs.
CALLER = web.RequestKey("caller", Caller)
LIVE_QUERY = web.RequestKey("live_query", LiveQuery)
SCOPE_REQUEST = web.RequestKey("scope_request", ScopeRequest)
QUERY = web.RequestKey("query", dict[str, str])


def project_of(request: web.Request) -> Project:
    """Return the project of a request that has no parameters of its own."""
    query_of(request, ())
    return request[CALLER].project


def project_and_query(
    request: web.Request, allowed: Collection[str]
) -> tuple[Project, dict[str, str]]:
    """Return the project and the query of a request."""
    return request[CALLER].project, query_of(request, allowed)


def query_of(request: web.Request, allowed: Collection[str]) -> dict[str, str]:
    """Return the query of an admitted request; raises `InvalidParameter`."""
    given = request.get(QUERY)
    if given is None:
        given = parse_query(text_of_query(request))
    own = request.app[SERVICES].access.authenticator.query_parameters
    return require_known(given, {*allowed, *own})


def text_of_query(request: web.Request) -> str:
    """Return the query as it was sent."""
    return request.raw_path.partition("?")[2]
