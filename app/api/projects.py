"""The project of a request to a project's own resources."""

from __future__ import annotations

from typing import TYPE_CHECKING

from app.api.services import SERVICES
from app.http.query import read_query

if TYPE_CHECKING:
    from collections.abc import Collection

    from aiohttp import web

    from app.storage.storage_key import Project


def project_of(request: web.Request) -> Project:
    """Return the project of a request that has no parameters of its own."""
    project, _ = project_and_query(request, ())
    return project


def project_and_query(
    request: web.Request, allowed: Collection[str]
) -> tuple[Project, dict[str, str]]:
    """Return the project and the query of a request.

    The key comes first: an unknown caller learns nothing of the parameters.
    """
    authenticator = request.app[SERVICES].authenticator
    authenticator.check_key(request)
    given = read_query(request, {*allowed, *authenticator.query_parameters})
    caller = authenticator.authenticate(request, named_in_query=given.get("project"))
    return caller.project, given
