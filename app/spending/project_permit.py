"""The permit of a request with a key, a signature, or none with AUTH=off."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from app.errors import GenerationDisabled, ServiceError
from app.spending.journal import ProjectPainting

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Hashable

    from app.access.caller import Caller
    from app.generation.spending import PaintingPermit
    from app.spending.journal import Journal
    from app.spending.projects import ProjectRules, Projects

    RequireActive = Callable[[Caller], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class ProjectPermit:
    """A permit that *caller*'s project pays, while its key is active."""

    caller: Caller
    projects: Projects
    journal: Journal
    require_active: RequireActive
    is_visitor: bool = False

    @property
    def payers(self) -> frozenset[Hashable]:
        """The project, and the key."""
        project = ("project", str(self.caller.project))
        return frozenset({project, (self.caller.audience, self.caller.name)})

    async def count_look_up(self) -> None:
        """Count nothing: the caller has a key."""

    async def refusal(self) -> ServiceError | None:
        """Return an error where generation is switched off, or the key revoked."""
        try:
            await self.require()
        except ServiceError as refused:
            return refused
        return None

    async def exhaustion(self) -> None:
        """Return None: the budget is asked when the painting's price is known."""

    async def require(self) -> ProjectRules:
        """Return the project's rules if they and the key let a call go out.

        Raises what refuses it, and `StorageUnavailable` where that can't be
        read.
        """
        await self.require_active(self.caller)
        rules = await self.projects.current(self.caller.project)
        if not rules.generation:
            raise GenerationDisabled(
                "Generation is switched off; what is there is served."
            )
        return rules

    @asynccontextmanager
    async def painting(
        self,
        generation_id: str,
        *,
        follows: str | None = None,  # noqa: ARG002 - a scope's quota needs it
    ) -> AsyncIterator[PaintingPermit]:
        """Permit the painting to spend within the project's budget of the day."""
        project = self.caller.project
        yield ProjectPainting(self.journal, project, self.require, generation_id)
