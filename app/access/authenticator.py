"""The authenticator: finds the caller of a request by its headers."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

from multidict import istr

from app.access.addresses import DIRECT
from app.access.caller import DEFAULT_PROJECT, Audience, Caller, Role
from app.errors import Forbidden, InvalidParameter, NotAuthenticated
from app.storage.storage_key import Project

if TYPE_CHECKING:
    from multidict import CIMultiDictProxy

    from app.access.addresses import ClientAddresses
    from app.access.api_keys import ApiKeys

PROJECT_HEADER = istr("X-Project")
OPENAI_HEADER = istr("OpenAI-Project")
KEY_HEADER = istr("X-API-Key")
PROJECT_PARAMETER = "project"

ANYONE = "anyone"


class Presented(NamedTuple):
    """The credentials of a request, and the *peer* whose connection it is."""

    headers: CIMultiDictProxy[str]
    peer: str


class Authenticator:
    """Finds callers by their keys.

    Without *keys* authentication is off: everyone is trusted, and names the
    project in a header or in the query.
    """

    def __init__(
        self, keys: ApiKeys | None, addresses: ClientAddresses = DIRECT
    ) -> None:
        self._keys = keys
        self._addresses = addresses

    @property
    def is_off(self) -> bool:
        """Whether anyone may ask for any project."""
        return self._keys is None

    @property
    def query_parameters(self) -> frozenset[str]:
        """The query parameters that belong to the authentication."""
        return frozenset({PROJECT_PARAMETER}) if self.is_off else frozenset()

    async def identify(
        self,
        presented: Presented,
        *,
        named_in_query: str | None = None,
        names_project: bool = True,
        is_cross_site: bool = False,
    ) -> Caller:
        """Return the caller; *named_in_query* is the query's `project`.

        Where a route belongs to no project (*names_project* is false) an admin
        need not name one. Raises `NotAuthenticated`, `Forbidden` where a
        project's key names another, `InvalidParameter` where the project is
        missing, malformed or named twice, and what a look-up of a key raises.
        """
        headers = presented.headers
        if self._keys is None:
            return _anyone(headers, named_in_query, is_cross_site=is_cross_site)
        key = presented_key(headers)
        if key is None:
            raise NotAuthenticated("An API key is needed: X-API-Key or Bearer.")
        # Known keys are in memory: nothing is awaited for them.
        holder = self._keys.known(key)
        if holder is None:
            address = self._addresses.of(presented.peer, headers)
            holder = await self._keys.find(key, address)
        return _caller(holder, headers, names_project=names_project)


def presented_key(headers: CIMultiDictProxy[str]) -> str | None:
    """Return the key that a request shows, None where there is none."""
    key = headers.get(KEY_HEADER)
    if key is not None:
        return key
    scheme, _, credentials = headers.get("Authorization", "").partition(" ")
    return credentials.strip() if scheme.lower() == "bearer" and credentials else None


def _anyone(
    headers: CIMultiDictProxy[str], named_in_query: str | None, *, is_cross_site: bool
) -> Caller:
    named = _named(headers)
    if named is not None:
        project = Project.parse(named, parameter=PROJECT_HEADER)
    elif named_in_query is not None:
        project = Project.parse(named_in_query, parameter=PROJECT_PARAMETER)
    else:
        project = DEFAULT_PROJECT
    return Caller(
        project,
        Role.ADMIN,
        ANYONE,
        Audience.ANYONE,
        is_cross_site=is_cross_site,
    )


def _caller(
    holder: Caller, headers: CIMultiDictProxy[str], *, names_project: bool
) -> Caller:
    named = _named(headers)
    if named is None:
        if holder.role is Role.ADMIN and names_project:
            raise InvalidParameter(
                PROJECT_HEADER,
                "An admin key names its project: X-Project: org/project.",
            )
        return holder
    if holder.role is Role.ADMIN:
        project = Project.parse(named, parameter=PROJECT_HEADER)
        # `_replace` takes three times as long, and every HIT of an admin comes here.
        return Caller(project, holder.role, holder.name, holder.audience)
    if named != str(holder.project):
        raise Forbidden("The key belongs to another project than X-Project names.")
    return holder


def _named(headers: CIMultiDictProxy[str]) -> str | None:
    if PROJECT_HEADER not in headers:
        return _named_to_openai(headers) if OPENAI_HEADER in headers else None
    named = headers.getall(PROJECT_HEADER)
    if len(named) > 1:
        raise InvalidParameter(PROJECT_HEADER, "X-Project is given more than once.")
    return named[0]


def _named_to_openai(headers: CIMultiDictProxy[str]) -> str | None:
    """Return the project that OpenAI's header names, None where it is one of theirs."""
    named = headers[OPENAI_HEADER]
    with suppress(InvalidParameter):
        return str(Project.parse(named))
    return None
