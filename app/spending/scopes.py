"""Live scopes: images for pages without a key."""

from __future__ import annotations

import asyncio
import logging
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from app.errors import CacheUnavailable, NotFound, ScopeGone, StorageUnavailable
from app.spending.accounts import prefix_of
from app.spending.scope import (
    DELETED,
    ONE_PICTURE,
    Scope,
    document_of,
    fields_of,
    is_scope_name,
    new_scope,
    scope_of,
)
from app.storage.ports.accounts import Account, Reservation

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from app.spending.accounts import Accounts
    from app.storage.known_documents import KnownDocuments, LookUp
    from app.storage.ports.accounts import AccountStore
    from app.storage.ports.documents import Documents, Fields
    from app.storage.storage_key import Project

logger = logging.getLogger(__name__)

# Scopes of a project that their first pictures made, and that no PUT has changed.
MAX_AUTO_CREATED = 1_000
_READS_AT_ONCE = 32


class Scopes:
    """The scopes of all projects, in the ledger."""

    def __init__(
        self,
        documents: Documents,
        known: KnownDocuments[Scope],
        store: AccountStore,
        accounts: Accounts,
    ) -> None:
        self._documents = documents
        self._known = known
        self._store = store
        self._accounts = accounts

    async def find(
        self, project: Project, name: str, *, look_up: LookUp | None = None
    ) -> Scope | None:
        """Return a scope, or None; *look_up* as for `KnownDocuments.get`."""
        if not is_scope_name(name):
            return None
        return await self._known.get(document_of(project, name), look_up=look_up)

    async def current(self, project: Project, name: str) -> Scope | None:
        """Return a scope as the ledger had it within the last five seconds.

        Raises `StorageUnavailable` where it can't be read.
        """
        return await self._known.current(document_of(project, name))

    async def put(
        self, project: Project, name: str, changes: Mapping[str, Any], *, by: str
    ) -> tuple[Scope, bool]:
        """Make a scope, or change what *changes* name; also return if it is new."""
        document = document_of(project, name)
        before = await self._documents.read(document)
        if before is not None and DELETED in before:
            # A deletion that met an outage is finished first.
            await self._delete_rest(project, name)
        scope, is_new = await self._change(project, name, changes)
        await self._accounts.settle(_auto_created(scope), None)
        logger.info(
            "scope created" if is_new else "scope changed",
            extra={"project": str(project), "scope": name, "by": by},
        )
        return scope, is_new

    async def _change(
        self, project: Project, name: str, changes: Mapping[str, Any]
    ) -> tuple[Scope, bool]:
        is_new = False

        def changed(before: Fields | None) -> Fields:
            nonlocal is_new
            is_new = before is None or DELETED in before
            kept = fields_of(new_scope(project, name)) if is_new else before or {}
            return {**kept, **changes}

        document = document_of(project, name)
        try:
            fields = await self._documents.change(document, changed)
        finally:
            self._known.forget(document)
        scope = scope_of(document, fields)
        assert scope is not None  # noqa: S101 - it was just written
        return scope, is_new

    async def list(
        self, project: Project, *, limit: int, after: str = ""
    ) -> tuple[list[Scope], str | None]:
        """Return *limit* scopes by name *after* another, and the last one's name.

        That is None where there are no more.
        """
        prefix = f"scopes/{project}/"
        names: list[str] = []
        at_once = asyncio.Semaphore(_READS_AT_ONCE)
        async for document in self._documents.names(prefix, after=after):
            if is_scope_name(document.removeprefix(prefix)):
                names.append(document)
            if len(names) > limit:
                break

        async def read(document: str) -> Scope | None:
            async with at_once:
                return scope_of(document, await self._documents.read(document))

        page = names[:limit]
        found = await asyncio.gather(*map(read, page))
        more = page[-1].removeprefix(prefix) if len(names) > limit else None
        return [scope for scope in found if scope is not None], more

    async def delete(self, project: Project, name: str, *, by: str) -> None:
        """Remove a scope and what it has used; raises `NotFound`.

        A deletion that met an outage finishes when it is repeated: the scope's
        document goes last, and until then it takes no request.
        """
        document = document_of(project, name)
        if not is_scope_name(name) or await self._documents.read(document) is None:
            raise NotFound("There is no such scope.")
        try:
            await self._documents.change(document, _deleted)
        finally:
            self._known.forget(document)
        await self._delete_rest(project, name)
        logger.info(
            "scope deleted", extra={"project": str(project), "scope": name, "by": by}
        )

    async def _delete_rest(self, project: Project, name: str) -> None:
        scope = new_scope(project, name)
        async for used in self._documents.names(prefix_of(scope.account)):
            await self._documents.remove(used)
        await self._store.forget(scope.account)
        await self._accounts.settle(_auto_created(scope), None)
        await self._documents.remove(document_of(project, name))

    async def generated(self, scope: Scope) -> int:
        """Return how many new pictures a scope has had."""
        balance = await self._accounts.balance(scope.account)
        return balance.settled // ONE_PICTURE

    async def may_be_made(self, project: Project) -> bool:
        """Return whether a first picture may make one more scope of a project."""
        try:
            balance = await self._accounts.balance(_auto_created_by(project))
        except CacheUnavailable:
            # Nothing is painted then, and HITs go on.
            return True
        return sum(balance) < MAX_AUTO_CREATED * ONE_PICTURE

    @asynccontextmanager
    async def making(self, scope: Scope) -> AsyncIterator[None]:
        """Write a scope once the body has had its first picture painted.

        Raises `ScopeGone` where the project has as many of them as it may.
        """
        one = _auto_created(scope)
        await self._accounts.reserve(one, {}, refusal=lambda: _too_many(scope))
        try:
            yield
            _, is_new = await self._change(scope.project, scope.name, {})
        except BaseException:
            await asyncio.shield(self._give_back(one, scope))
            raise
        await self._accounts.settle(one, {})
        if is_new:
            logger.info(
                "scope created",
                extra={
                    "project": str(scope.project),
                    "scope": scope.name,
                    "by": "visitor",
                },
            )

    async def _give_back(self, one: Reservation, scope: Scope) -> None:
        """Give back a scope that was not made, unless another request made it."""
        document = document_of(scope.project, scope.name)
        try:
            was_made = await self._documents.read(document) is not None
        except StorageUnavailable:
            was_made = False
        await self._accounts.settle(one, {} if was_made else None)


def _auto_created_by(project: Project) -> Account:
    return Account(f"auto-scopes/{project}")


def _auto_created(scope: Scope) -> Reservation:
    limit = MAX_AUTO_CREATED * ONE_PICTURE
    return Reservation(_auto_created_by(scope.project), scope.name, ONE_PICTURE, limit)


def _too_many(scope: Scope) -> ScopeGone:
    return ScopeGone(
        "There is no such scope, and the project has as many as pages may make.",
        payer=("scope", str(scope.project), scope.name),
    )


def _deleted(before: Fields | None) -> Fields:
    return {**(before or {}), DELETED: True}
