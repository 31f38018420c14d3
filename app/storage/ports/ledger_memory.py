"""The port to what all replicas remember of their ledger: its id."""

from __future__ import annotations

from typing import Protocol


class LedgerMemory(Protocol):
    """The id of the ledger that was seen. Every method raises `CacheUnavailable`."""

    async def recall(self) -> str | None:
        """Return the id, or None where no ledger was seen."""
        ...

    async def remember(self, ledger_id: str) -> None:
        """Keep the id unless there is one."""
        ...

    async def replace(self, ledger_id: str) -> None:
        """Keep the id in place of any other."""
        ...

    async def propose(self, ledger_id: str) -> str:
        """Return the id that a new ledger gets: the first one that was proposed."""
        ...
