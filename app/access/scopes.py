"""Live scopes: what a static page may have painted, without a key."""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from app.access.books import Book
from app.access.key_record import now
from app.errors import NotFound
from app.storage.ports.allowances import Account

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from app.access.books import Books
    from app.access.known_documents import KnownDocuments
    from app.storage.ports.allowances import Allowances
    from app.storage.ports.documents import Documents, Fields
    from app.storage.storage_key import Project

logger = logging.getLogger(__name__)

NEW_UNLESS_SAID = 30
MOST_NEW = 1_000_000
MOST_MODELS = 64

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}", re.ASCII)

# A place is one whole unit of a book, whose amounts are billionths.
PLACE = 10**9


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
    def book(self) -> Book:
        """The places that are used."""
        return Book(
            Account(f"places:{self.project}/{self.name}"),
            f"places/{self.project}/{self.name}/",
            self.limit * PLACE,
        )

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
class Visit:
    """A scope that somebody asks through, from *address*.

    *is_kept* is false for one that nobody has made yet, which its first new
    picture makes.
    """

    scope: Scope
    address: str
    is_kept: bool = True


def is_scope_name(text: str) -> bool:
    """Say whether *text* may name a scope."""
    return _NAME.fullmatch(text) is not None


def new_scope(project: Project, name: str) -> Scope:
    """Return what a scope is where nothing was said of it."""
    return Scope(project, name, NEW_UNLESS_SAID, True, ("default",), now())  # noqa: FBT003 - open, as its field says


class Scopes:
    """The scopes of all projects, in the ledger."""

    def __init__(
        self,
        documents: Documents,
        known: KnownDocuments[Fields],
        allowances: Allowances,
        books: Books,
    ) -> None:
        self._documents = documents
        self._known = known
        self._allowances = allowances
        self._books = books

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
        async for place in self._documents.names(scope.book.prefix):
            await self._documents.remove(place)
        await self._allowances.forget(scope.book.account)
        logger.info(
            "scope deleted", extra={"project": str(project), "scope": name, "by": by}
        )

    async def generated(self, scope: Scope) -> int:
        """Return how many new pictures a scope has had."""
        balance = await self._books.balance(scope.book)
        return balance.settled // PLACE


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
