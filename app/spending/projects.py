"""Rules of a project, which override the defaults of the settings."""

from __future__ import annotations

import logging
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from app.storage.known_documents import KnownDocuments, LookUp
    from app.storage.ports.documents import Documents, Fields
    from app.storage.storage_key import Project

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ProjectRules:
    """The limits of one project: rates a minute, money a day; 0 is no limit."""

    generation: bool = True
    budget_per_day: float = 0
    rate_limit_per_minute: int = 0
    auto_create_scopes: bool = False


NO_LIMITS = ProjectRules()
CHANGEABLE = frozenset(asdict(NO_LIMITS))


class Projects:
    """The rules of all projects; *defaults* hold where a project says nothing.

    Where the default switches generation off, no project switches it on.
    """

    def __init__(
        self,
        documents: Documents,
        known: KnownDocuments[Fields],
        defaults: ProjectRules,
    ) -> None:
        self._documents = documents
        self._known = known
        self._defaults = defaults

    def cached(self, project: Project) -> ProjectRules | None:
        """Return the rules of a project if they are kept in memory; awaits nothing."""
        own = self._known.cached(_document_of(project))
        return None if own is None else self._over_defaults(own)

    async def get(
        self, project: Project, *, look_up: LookUp | None = None
    ) -> ProjectRules:
        """Return the rules of a project, for what costs nothing.

        *look_up* as for `KnownDocuments.get`. Raises `StorageUnavailable`.
        """
        own = await self._known.get(_document_of(project), look_up=look_up)
        return self._over_defaults(own or {})

    async def current(self, project: Project) -> ProjectRules:
        """Return the rules as the ledger had them within the last five seconds.

        Raises `StorageUnavailable` where they can't be read.
        """
        own = await self._known.current(_document_of(project))
        return self._over_defaults(own or {})

    async def change(
        self, project: Project, changes: Mapping[str, Any], *, by: str
    ) -> ProjectRules:
        """Change what *changes* name, None to the default; return what holds."""

        def changed(before: Fields | None) -> Fields:
            after = {**(before or {}), **changes}
            return {name: value for name, value in after.items() if value is not None}

        name = _document_of(project)
        own = await self._documents.change(name, changed)
        self._known.forget(name)
        logger.info(
            "project changed",
            extra={"project": str(project), "changes": dict(changes), "by": by},
        )
        return self._over_defaults(own)

    def _over_defaults(self, own: Fields) -> ProjectRules:
        if not own:
            return self._defaults
        given = {name: own[name] for name in CHANGEABLE & own.keys()}
        rules = asdict(self._defaults) | given
        rules["generation"] = self._defaults.generation and rules["generation"]
        return ProjectRules(**rules)


def own_rules(fields: Fields | None) -> Fields:
    """Return the rules in a project's document; raises `ValueError` for damage."""
    if fields is None:
        return {}
    for name in CHANGEABLE & fields.keys():
        kind = type(getattr(NO_LIMITS, name))
        if not isinstance(fields[name], bool if kind is bool else int | float):
            raise ValueError(f"{name} is damaged")  # noqa: TRY004 - of the document
    return fields


@lru_cache(4096)
def _document_of(project: Project) -> str:
    return f"projects/{project}"
