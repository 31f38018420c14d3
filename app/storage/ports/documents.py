"""The port to small documents in the ledger that are about no prompt.

Keys, projects, scopes and the spend journal: JSON objects by name, apart from
everything that belongs to a prompt. Every method raises `StorageUnavailable`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any, Protocol

Fields = dict[str, Any]


class Documents(Protocol):
    """Documents by slash-separated name."""

    async def read(self, name: str) -> Fields | None:
        """Return a document, or None if there is none."""
        ...

    async def write(self, name: str, fields: Fields) -> None:
        """Write a document, replacing what was there."""
        ...

    async def change(
        self, name: str, change: Callable[[Fields | None], Fields]
    ) -> Fields:
        """Replace a document by what *change* makes of it; return that.

        *change* is given None where there is none, may run again where
        another writer wrote meanwhile, and must have no other effect.
        """
        ...

    async def remove(self, name: str) -> None:
        """Remove a document; removing what is not there is a no-op."""
        ...

    def names(self, prefix: str, *, after: str = "") -> AsyncIterator[str]:
        """Yield the names that start with *prefix*, in order.

        With *after*, those that come behind *prefix* and *after*.
        """
        ...
