"""ModelNames: from the names that callers use to aliases, and what each accepts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Protocol


class Named(Protocol):
    """A table of the models file, as far as names go."""

    @property
    def also(self) -> Iterable[str]:
        """The further names of its alias."""
        ...

    @property
    def accept(self) -> Iterable[str]:
        """The options that a request may choose itself."""
        ...


class ModelNames:
    """The names of all models, in the order of the file."""

    def __init__(self, tables: Mapping[str, Named]) -> None:
        self._alias_of = {alias: alias for alias in tables}
        for alias, table in tables.items():
            self._alias_of |= dict.fromkeys(table.also, alias)
        self._also = {alias: tuple(table.also) for alias, table in tables.items()}
        self._accepted = {alias: tuple(table.accept) for alias, table in tables.items()}

    @property
    def all(self) -> tuple[str, ...]:
        """Every name that a request may give: the aliases, then the others."""
        return tuple(self._alias_of)

    def alias_of(self, name: str) -> str | None:
        """Return the alias that *name* means, None where it means none."""
        return self._alias_of.get(name)

    def accepts(self, alias: str, option: str) -> bool:
        """Return whether a request to *alias* may choose *option* itself."""
        return option in self._accepted[alias]

    def also_of(self, alias: str) -> tuple[str, ...]:
        """Return the further names of *alias*."""
        return self._also[alias]

    def accepted_by(self, alias: str) -> tuple[str, ...]:
        """Return the options that a request to *alias* may choose itself."""
        return self._accepted[alias]
