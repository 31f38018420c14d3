"""Who asks, and for which project: the first thing that happens to a request.

Nothing has been read and nothing been looked up before this says yes.
"""

from __future__ import annotations

import hmac
from hashlib import sha256
from typing import TYPE_CHECKING, Literal, NamedTuple

from multidict import istr

from app.errors import InvalidParameter, NotAuthenticated
from app.storage.storage_key import Project

if TYPE_CHECKING:
    from aiohttp import web
    from multidict import CIMultiDictProxy

DEFAULT_PROJECT = Project("default", "main")

PROJECT_HEADER = istr("X-Project")
KEY_HEADER = istr("X-API-Key")
_PROJECT_PARAMETER = "project"


class Caller(NamedTuple):
    """Whoever asks: the project that pays, and what the key allows."""

    project: Project
    role: Literal["admin", "project", "read"]


class Authenticator:
    """Keys to callers.

    Without an *admin_key* authentication is off: everyone is trusted, and
    names the project in a header or in the query.
    """

    def __init__(self, admin_key: str | None) -> None:
        self._digest = sha256(admin_key.encode()).digest() if admin_key else None

    @property
    def is_off(self) -> bool:
        """Whether anyone may ask for any project."""
        return self._digest is None

    @property
    def query_parameters(self) -> frozenset[str]:
        """The query parameters that belong to the authentication."""
        return frozenset({_PROJECT_PARAMETER}) if self.is_off else frozenset()

    def check_key(self, request: web.Request) -> None:
        """Raise `NotAuthenticated` unless the request has a key that is known."""
        if self._digest is None:
            return
        key = _presented_key(request.headers)
        if key is None:
            raise NotAuthenticated("An API key is needed: X-API-Key or Bearer.")
        # Digests have one length, so that comparing tells nothing of the key's.
        presented = sha256(key.encode("utf-8", "surrogateescape")).digest()
        if not hmac.compare_digest(presented, self._digest):
            raise NotAuthenticated("The API key is not known.")

    def authenticate(
        self, request: web.Request, *, named_in_query: str | None = None
    ) -> Caller:
        """Return who asks; *named_in_query* is the query's `project`.

        Raises `NotAuthenticated`, or `InvalidParameter` where the project is
        missing, malformed or named twice.
        """
        self.check_key(request)
        named = request.headers.getall(PROJECT_HEADER, [])
        if len(named) > 1:
            raise InvalidParameter(PROJECT_HEADER, "X-Project is given more than once.")
        if named:
            return Caller(Project.parse(named[0], parameter=PROJECT_HEADER), "admin")
        if not self.is_off:
            raise InvalidParameter(
                PROJECT_HEADER,
                "An admin key names its project: X-Project: org/project.",
            )
        if named_in_query is not None:
            project = Project.parse(named_in_query, parameter=_PROJECT_PARAMETER)
            return Caller(project, "admin")
        return Caller(DEFAULT_PROJECT, "admin")


def _presented_key(headers: CIMultiDictProxy[str]) -> str | None:
    key = headers.get(KEY_HEADER)
    if key is not None:
        return key
    scheme, _, credentials = headers.get("Authorization", "").partition(" ")
    return credentials.strip() if scheme.lower() == "bearer" and credentials else None
