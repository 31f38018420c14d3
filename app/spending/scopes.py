"""Live scopes: what a static page may have painted, without a key."""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from app.errors import NotFound
from app.spending.accounts import prefix_of
from app.storage.ports.accounts import Account

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from app.spending.accounts import Accounts
    from app.storage.known_documents import KnownDocuments
    from app.storage.ports.accounts import AccountStore
    from app.storage.ports.documents import Documents, Fields
    from app.storage.storage_key import Project

logger = logging.getLogger(__name__)

DEFAULT_LIMIT = 30
MAX_LIMIT = 1_000_000
MAX_MODELS = 64

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}", re.ASCII)

# Amounts of accounts are billionths: a quota counts whole pictures.
ONE_PICTURE = 10**9


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
        """How much of the quota is used."""
        return Account(f"places/{self.project}/{self.name}")

    @property
    def quota(self) -> int:
        """How many new pictures it may have, in the account's amounts."""
        return self.limit * ONE_PICTURE

    def as_json(self, generated: int) -> dict[str, Any]:
        """Return the scope as the contract has it."""
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


def is_scope_name(text: str) -> bool:
    """Say whether *text* may name a scope."""
    return _NAME.fullmatch(text) is not None


def new_scope(project: Project, name: str) -> Scope:
    """Return what a scope is where nothing was said of it."""
    return Scope(project, name, DEFAULT_LIMIT, True, ("default",), _now())  # noqa: FBT003 - open, as its field says


class Scopes:
    """The scopes of all projects, in the ledger."""

    def __init__(
        self,
        documents: Documents,
        known: KnownDocuments[Fields],
        store: AccountStore,
        accounts: Accounts,
    ) -> None:
        self._documents = documents
        self._known = known
        self._store = store
        self._accounts = accounts

    async def find(
        self,
        project: Project,
        name: str,
        *,
        before_look_up: Callable[[], None] = lambda: None,
    ) -> Scope | None:
        """Return a scope, or None; *before_look_up* as for `KnownDocuments.get`."""
        if not is_scope_name(name):
            return None
        document = _document_of(project, name)
        fields = await self._known.get(document, before_look_up=before_look_up)
        return None if fields is None else _scope(project, name, fields)

    async def put(
        self, project: Project, name: str, changes: Mapping[str, Any], *, by: str
    ) -> tuple[Scope, bool]:
        """Make a scope, or change what *changes* name; say whether it is new."""
        is_new = False

        def changed(before: Fields | None) -> Fields:
            nonlocal is_new
            is_new = before is None
            return {**(before or _fields(new_scope(project, name))), **changes}

        document = _document_of(project, name)
        fields = await self._documents.change(document, changed)
        self._known.forget(document)
        logger.info(
            "scope created" if is_new else "scope changed",
            extra={"project": str(project), "scope": name, "by": by},
        )
        return _scope(project, name, fields), is_new

    async def list(self, project: Project) -> list[Scope]:
        """Return the scopes of a project, by name."""
        prefix = f"scopes/{project}/"
        found = []
        async for document in self._documents.names(prefix):
            name = document.removeprefix(prefix)
            fields = await self._documents.read(document)
            if fields is not None and is_scope_name(name):
                found.append(_scope(project, name, fields))
        return found

    async def delete(self, project: Project, name: str, *, by: str) -> None:
        """Remove a scope and what it has used; raises `NotFound`."""
        document = _document_of(project, name)
        if not is_scope_name(name) or await self._documents.read(document) is None:
            raise NotFound("There is no such scope.")
        scope = new_scope(project, name)
        await self._documents.remove(document)
        self._known.forget(document)
        async for used in self._documents.names(prefix_of(scope.account)):
            await self._documents.remove(used)
        await self._store.forget(scope.account)
        logger.info(
            "scope deleted", extra={"project": str(project), "scope": name, "by": by}
        )

    async def generated(self, scope: Scope) -> int:
        """Return how many new pictures a scope has had."""
        balance = await self._accounts.balance(scope.account)
        return balance.settled // ONE_PICTURE


def _now() -> datetime:
    """Return the time, in whole milliseconds of UTC."""
    moment = datetime.now(UTC)
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)


def _document_of(project: Project, name: str) -> str:
    return f"scopes/{project}/{name}"


def _scope(project: Project, name: str, fields: Fields) -> Scope:
    return Scope(
        project,
        name,
        fields["limit"],
        fields["allow_new"],
        tuple(fields["models"]),
        datetime.fromisoformat(fields["created_at"]),
    )


def _fields(scope: Scope) -> Fields:
    return {
        "limit": scope.limit,
        "allow_new": scope.allow_new,
        "models": list(scope.models),
        "created_at": scope.created_at.isoformat(),
    }
