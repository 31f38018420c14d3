"""Admission: the caller is known before a handler runs and before a body is read.

A route says what it needs; `admitted` puts that check before its handler, and
leaves the caller in the request (`admitted_request`).
"""

from __future__ import annotations

from contextlib import suppress
from enum import StrEnum
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from multidict import CIMultiDict, CIMultiDictProxy, istr

from app.access.authenticator import (
    KEY_HEADER,
    PROJECT_PARAMETER,
    Presented,
    presented_key,
)
from app.access.caller import Audience, Caller, Role
from app.access.rate_limits import refusal_of
from app.api.admitted_request import (
    CALLER,
    LIVE_QUERY,
    QUERY,
    SCOPE_REQUEST,
    text_of_query,
)
from app.api.scope_requests import scope_request_of
from app.api.services import SERVICES
from app.errors import Forbidden, ServiceError, StorageUnavailable
from app.http.query import parse_query
from app.server.request_context import ERROR_HEADERS, MORE_HEADERS

if TYPE_CHECKING:
    from aiohttp import web
    from aiohttp.typedefs import Handler

    from app.access.authenticator import Authenticator


class Needs(StrEnum):
    """The right that a route requires of its caller.

    With AUTH=off every route but those of `HEALTH` accepts only local host names.
    """

    # No key, and any Host.
    HEALTH = "health"
    # No key.
    NOTHING = "none"
    # No key; one that is shown counts against its rate.
    COUNTED = "counted"
    # A key of that role, and a project.
    READ = "read"
    PROJECT = "project"
    # A key of the role `project`; an admin need not name a project.
    KEYS = "keys"
    # A key of any role, or a signature.
    LIVE = "live"
    # The scope in the path, and no key.
    SCOPE = "scope"
    # As PROJECT and READ, with the key where OpenAI's clients put it; the query is
    # ignored.
    OPENAI = "openai"
    OPENAI_READ = "openai_read"


ROLES = {
    Needs.READ: Role.READ,
    Needs.PROJECT: Role.PROJECT,
    # The handlers let a project's key manage only its own project's signing keys.
    Needs.KEYS: Role.PROJECT,
    Needs.OPENAI: Role.PROJECT,
    Needs.OPENAI_READ: Role.READ,
}
_IN_OPENAI_WORDS = frozenset({Needs.OPENAI, Needs.OPENAI_READ})
_AZURE_KEY_HEADER = istr("api-key")
_WITHOUT_A_PROJECT = frozenset({Needs.KEYS, Needs.OPENAI_READ})


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
    return handler if role is None else _admitted_by_role(handler, needs, role)


def _admitted_by_role(handler: Handler, needs: Needs, role: Role) -> Handler:
    names_project = needs not in _WITHOUT_A_PROJECT
    is_openai = needs in _IN_OPENAI_WORDS

    async def enter(request: web.Request) -> web.StreamResponse:
        authenticator = request.app[SERVICES].access.authenticator
        is_cross_site = _is_cross_site(request)
        request[CALLER] = caller = await authenticator.identify(
            _presented_to_openai(request) if is_openai else _presented(request),
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
            # The address needs no key, so one that is wrong refuses nothing.
            caller: Caller | None = None
            with suppress(ServiceError):
                caller = await authenticator.identify(
                    _presented(request), names_project=False
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
                _presented(request),
                named_in_query=asked.given.get(PROJECT_PARAMETER),
                is_cross_site=is_cross_site,
            )
        elif asked.is_signed:
            # The signature decides, also where there is a key beside it.
            caller = await services.access.signed_urls.verify(
                asked.claims(_literal_path(request)), _presented(request)
            )
            # From here on the answer is the same for everyone who has the address.
            request[ERROR_HEADERS] = {}
        else:
            caller = await authenticator.identify(_presented(request))
        request[CALLER] = caller
        await _count(request, caller)
        return await handler(request)

    return enter


def _admitted_to_scope(handler: Handler) -> Handler:
    async def enter(request: web.Request) -> web.StreamResponse:
        _is_cross_site(request)
        # The answer is the same for everyone who has the address.
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


def _presented(request: web.Request) -> Presented:
    """Return the credentials of *request*."""
    return Presented(request.headers, request.remote or "")


def _presented_to_openai(request: web.Request) -> Presented:
    """Return the credentials of *request*, with a key in the header of Azure."""
    headers = request.headers
    if _AZURE_KEY_HEADER in headers and presented_key(headers) is None:
        more = CIMultiDict(headers)
        more[KEY_HEADER] = headers[_AZURE_KEY_HEADER]
        headers = CIMultiDictProxy(more)
    return Presented(headers, request.remote or "")


def _literal_path(request: web.Request) -> str:
    """Return the path as it was sent, which a signature covers."""
    target = request.raw_path.partition("?")[0]
    return target if target.startswith("/") else urlsplit(target).path


def _named_in_query(request: web.Request, authenticator: Authenticator) -> str | None:
    if not authenticator.is_off:
        return None
    request[QUERY] = given = parse_query(text_of_query(request))
    return given.get(PROJECT_PARAMETER)
