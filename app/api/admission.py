"""The way in: who asks is known before a handler runs, or anything is read.

A route says what it needs; `admitted` puts that before its handler and leaves
the `Caller` in the request.
"""

from __future__ import annotations

from contextlib import suppress
from enum import StrEnum
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from aiohttp import web
from multidict import CIMultiDict, CIMultiDictProxy, istr

from app.access.authenticator import (
    KEY_HEADER,
    PROJECT_PARAMETER,
    Presented,
    presented_key,
)
from app.access.caller import Audience, Caller, Role
from app.access.rate_limits import refusal_of
from app.api.query_cache import LiveQuery
from app.api.scope_requests import scope_request_of
from app.api.services import SERVICES
from app.errors import Forbidden, ServiceError, StorageUnavailable
from app.http.query import parse_query, require_known
from app.server.frame import ERROR_HEADERS, MORE_HEADERS
from app.spending.scope import ScopeRequest

if TYPE_CHECKING:
    from collections.abc import Collection

    from aiohttp.typedefs import Handler

    from app.access.authenticator import Authenticator
    from app.storage.storage_key import Project


class Needs(StrEnum):
    """The right that a route requires of its caller.

    Either nothing, or a role. `COUNTED` needs no key, and counts a request that
    shows one. `HEALTH` routes need no key and accept any Host; with AUTH=off
    every other route accepts only local host names. `LIVE` is a role or a
    signature, `SCOPE` what the scope in the path allows, `KEYS` a role without a
    project.
    `OPENAI` and `OPENAI_READ` are roles whose key may stand where OpenAI's
    clients put it, and whose query is ignored.
    """

    HEALTH = "health"
    NOTHING = "none"
    COUNTED = "counted"
    READ = "read"
    PROJECT = "project"
    KEYS = "keys"
    LIVE = "live"
    SCOPE = "scope"
    OPENAI = "openai"
    OPENAI_READ = "openai_read"


ROLES = {
    Needs.READ: Role.READ,
    Needs.PROJECT: Role.PROJECT,
    # A project's key keeps its own project's signing keys; the handlers see to it.
    Needs.KEYS: Role.PROJECT,
    Needs.OPENAI: Role.PROJECT,
    Needs.OPENAI_READ: Role.READ,
}
_IN_OPENAI_WORDS = frozenset({Needs.OPENAI, Needs.OPENAI_READ})
_WITHOUT_A_PROJECT = frozenset({Needs.KEYS, Needs.OPENAI_READ})

CALLER = web.RequestKey("caller", Caller)
LIVE_QUERY = web.RequestKey("live_query", LiveQuery)
SCOPE_REQUEST = web.RequestKey("scope_request", ScopeRequest)
_AZURE_KEY_HEADER = istr("api-key")
_QUERY = web.RequestKey("query", dict[str, str])


def admitted(needs: Needs, handler: Handler) -> Handler:
    """Return *handler* behind the check of what its route needs."""
    if needs is Needs.LIVE:
        return _admitted_to_live(handler)
    if needs is Needs.SCOPE:
        return _admitted_to_scope(handler)
    if needs is Needs.NOTHING:
        return _guarded(handler)
    if needs is Needs.COUNTED:
        return _counted(handler)
    role = ROLES.get(needs)
    if role is None:
        return handler
    names_project = needs not in _WITHOUT_A_PROJECT
    is_openai = needs in _IN_OPENAI_WORDS

    async def enter(request: web.Request) -> web.StreamResponse:
        authenticator = request.app[SERVICES].access.authenticator
        is_cross_site = _is_cross_site(request)
        request[CALLER] = caller = await authenticator.identify(
            presented_to_openai(request) if is_openai else presented(request),
            named_in_query=(
                None if is_openai else _named_in_query(request, authenticator)
            ),
            names_project=names_project,
            is_cross_site=is_cross_site,
        )
        # A request that its role refuses counts as well.
        await _count(request, caller)
        if not caller.role.includes(role):
            raise Forbidden(f"The role {caller.role} may not do this.")
        return await handler(request)

    return enter


def _guarded(handler: Handler) -> Handler:
    async def enter(request: web.Request) -> web.StreamResponse:
        _is_cross_site(request)
        return await handler(request)

    return enter


def _counted(handler: Handler) -> Handler:
    async def enter(request: web.Request) -> web.StreamResponse:
        _is_cross_site(request)
        authenticator = request.app[SERVICES].access.authenticator
        if not authenticator.is_off and presented_key(request.headers) is not None:
            # The address needs no key: what is wrong with one refuses nothing.
            caller: Caller | None = None
            with suppress(ServiceError):
                caller = await authenticator.identify(
                    presented(request), names_project=False
                )
            if caller is not None:
                await _count(request, caller)
        return await handler(request)

    return enter


def _is_cross_site(request: web.Request) -> bool:
    """Return whether another site's page asks a service that requires no keys.

    Raises `Forbidden` for what no page of another site may do.
    """
    guard = request.app[SERVICES].access.guard
    if guard is None:
        return False
    transport = request.transport
    own = transport.get_extra_info("sockname") if transport else None
    return guard.check(
        request.method,
        request.headers,
        target=request.raw_path,
        own_address=own[0] if isinstance(own, tuple) else None,
    )


def _admitted_to_live(handler: Handler) -> Handler:
    async def enter(request: web.Request) -> web.StreamResponse:
        services = request.app[SERVICES]
        authenticator = services.access.authenticator
        asked = services.query_cache.read(text_of_query(request))
        request[LIVE_QUERY] = asked
        if authenticator.is_off:
            is_cross_site = _is_cross_site(request)
            caller = await authenticator.identify(
                presented(request),
                named_in_query=asked.given.get(PROJECT_PARAMETER),
                is_cross_site=is_cross_site,
            )
        elif asked.is_signed:
            # It decides also where there is a key beside it.
            caller = await services.access.signed_urls.verify(
                asked.claims(literal_path(request)), presented(request)
            )
            # From here on the answer is the same for everyone who has the address.
            request[ERROR_HEADERS] = {}
        else:
            caller = await authenticator.identify(presented(request))
        request[CALLER] = caller
        await _count(request, caller)
        return await handler(request)

    return enter


def _admitted_to_scope(handler: Handler) -> Handler:
    async def enter(request: web.Request) -> web.StreamResponse:
        _is_cross_site(request)
        # Everyone who has the address may look: no key, no header decides.
        request[ERROR_HEADERS] = {}
        request[SCOPE_REQUEST] = asked = await scope_request_of(request)
        scope, services = asked.scope, request.app[SERVICES]
        request[LIVE_QUERY] = services.query_cache.read(text_of_query(request))
        request[CALLER] = Caller(scope.project, Role.READ, scope.name, Audience.SCOPE)
        return await handler(request)

    return enter


async def _count(request: web.Request, caller: Caller) -> None:
    """Count a request with a key, or a signature, against its rate."""
    if caller.audience is Audience.ANYONE:
        return
    services = request.app[SERVICES]
    spending = services.spending
    rules = spending.projects.cached(caller.project)
    if rules is None:
        try:
            rules = await spending.projects.get(caller.project)
        except StorageUnavailable:
            # The default holds for as long as the project's own can't be read.
            services.access.on_degraded("rules")
    limit = spending.defaults.rate_limit_per_minute
    if rules is not None:
        limit = rules.rate_limit_per_minute
    if not limit:
        return
    standing, is_within = await services.access.rate_limits.count(caller, limit)
    if standing is not None:
        request[MORE_HEADERS] = standing.as_headers()
        if not is_within:
            raise refusal_of(standing)


def presented(request: web.Request) -> Presented:
    """Return what *request* shows of its caller."""
    return Presented(request.headers, request.remote or "")


def presented_to_openai(request: web.Request) -> Presented:
    """Return what *request* shows, with a key that is named as at Azure."""
    headers = request.headers
    if _AZURE_KEY_HEADER in headers and presented_key(headers) is None:
        more = CIMultiDict(headers)
        more[KEY_HEADER] = headers[_AZURE_KEY_HEADER]
        headers = CIMultiDictProxy(more)
    return Presented(headers, request.remote or "")


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
    given = request.get(_QUERY)
    if given is None:
        given = parse_query(text_of_query(request))
    own = request.app[SERVICES].access.authenticator.query_parameters
    return require_known(given, {*allowed, *own})


def literal_path(request: web.Request) -> str:
    """Return the path as it was sent, which a signature covers."""
    target = request.raw_path.partition("?")[0]
    return target if target.startswith("/") else urlsplit(target).path


def text_of_query(request: web.Request) -> str:
    """Return the query as it was sent."""
    return request.raw_path.partition("?")[2]


def _named_in_query(request: web.Request, authenticator: Authenticator) -> str | None:
    if not authenticator.is_off:
        return None
    request[_QUERY] = given = parse_query(text_of_query(request))
    return given.get(PROJECT_PARAMETER)
