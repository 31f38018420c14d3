"""One live scope: what it allows, and its document in the ledger."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from app.storage.ports.accounts import Account
from app.storage.storage_key import Project

if TYPE_CHECKING:
    from app.storage.ports.documents import Fields

DEFAULT_LIMIT = 30
MAX_LIMIT = 1_000_000
MAX_MODELS = 64

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}", re.ASCII)

# Amounts of accounts are billionths: a quota counts whole pictures.
ONE_PICTURE = 10**9

# Counted again from the ledger after that: visitors name scopes as they like.
_KEPT_FOR = timedelta(days=2)

# In the document of a scope that is being deleted.
DELETED = "deleted"


@dataclass(frozen=True, slots=True)
class Scope:
    """One scope: *limit* new pictures by *models*, unless *allow_new* is false."""

    project: Project
    name: str
    limit: int
    allow_new: bool
    models: tuple[str, ...]
    created_at: datetime

    @property
    def account(self) -> Account:
        """Return the account that counts the used quota."""
        return account_of(self.project, self.name)

    @property
    def quota(self) -> int:
        """Return how many new pictures it may have, in the account's amounts."""
        return self.limit * ONE_PICTURE

    def as_json(self, generated: int | None) -> dict[str, Any]:
        """Return the scope as the contract has it; *generated* may be unknown."""
        return {
            "scope": self.name,
            "project": str(self.project),
            "limit": self.limit,
            "allow_new": self.allow_new,
            "models": self.models,
            "generated": generated,
            "created_at": self.created_at,
        }


@dataclass(frozen=True, slots=True)
class ScopeRequest:
    """A request for a picture of a scope, from *address*.

    *is_kept* is false for a scope that its first new picture makes.
    """

    scope: Scope
    address: str
    is_kept: bool = True


def account_of(project: Project, name: str) -> Account:
    """Return the account of a scope's quota."""
    return Account(f"places/{project}/{name}", keep_for=_KEPT_FOR)


def is_scope_name(text: str) -> bool:
    """Return whether *text* may name a scope."""
    return _NAME.fullmatch(text) is not None


def new_scope(project: Project, name: str) -> Scope:
    """Return a scope as it is by default."""
    moment = datetime.now(UTC)
    in_ms = moment.replace(microsecond=moment.microsecond // 1000 * 1000)
    return Scope(project, name, DEFAULT_LIMIT, True, ("default",), in_ms)  # noqa: FBT003 - open, as its field says


def document_of(project: Project, name: str) -> str:
    """Return where a scope lies in the ledger."""
    return f"scopes/{project}/{name}"


def scope_of(document: str, fields: Fields | None) -> Scope | None:
    """Return the scope in a document, None where there is none any more.

    Raises `KeyError`, `TypeError` or `ValueError` for a document that is damaged.
    """
    if fields is None or DELETED in fields:
        return None
    _, org, project, name = document.split("/")
    limit, allow_new = fields["limit"], fields["allow_new"]
    if type(limit) is not int or not isinstance(allow_new, bool):
        raise TypeError("a scope's document is damaged")
    return Scope(
        Project(org, project),
        name,
        limit,
        allow_new,
        tuple(fields["models"]),
        datetime.fromisoformat(fields["created_at"]),
    )


def fields_of(scope: Scope) -> Fields:
    """Return the document of a scope."""
    return {
        "limit": scope.limit,
        "allow_new": scope.allow_new,
        "models": list(scope.models),
        "created_at": scope.created_at.isoformat(),
    }
