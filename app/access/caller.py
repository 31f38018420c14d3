"""The caller of a request: its project, and what its role allows.

Known once for each request, before anything of it is read.
"""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

from app.storage.storage_key import Project

DEFAULT_PROJECT = Project("default", "main")

BOOTSTRAP = "ADMIN_API_KEY"
"""The name of the key in the settings."""


class Role(StrEnum):
    """The rights of a key; each role includes those before it.

    `read` gets what is cached, stored or counted and never causes a payment;
    `project` does all of its own project but API keys, budgets and rates;
    `admin` does all.
    """

    READ = "read"
    PROJECT = "project"
    ADMIN = "admin"

    def includes(self, other: Role) -> bool:
        """Return whether this role may do what *other* may."""
        return _RANKS[self] >= _RANKS[other]


_RANKS = {role: rank for rank, role in enumerate(Role)}


class Audience(StrEnum):
    """The means of authentication: it decides which caches may keep the answer."""

    ANYONE = "anyone"
    KEY = "key"
    SIGNATURE = "signature"
    SCOPE = "scope"


class Caller(NamedTuple):
    """An authenticated caller: the project that pays, and the key's role.

    *name* is the id of the key, never the key, for logs and limits.
    *expires_at* is set on signatures (Unix seconds); *is_cross_site* says that a
    page of another site asks, with AUTH=off.
    """

    project: Project
    role: Role
    name: str
    audience: Audience
    expires_at: int | None = None
    is_cross_site: bool = False

    @property
    def is_bootstrap(self) -> bool:
        """Whether the key is that of the settings, which all projects share."""
        return self.name == BOOTSTRAP
