"""What a caller may spend: a permit that goes with the request, or the refusal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from app.access.caller import Role
from app.errors import Forbidden, ServiceError
from app.generation.spending import UnlimitedPermit

if TYPE_CHECKING:
    from app.access.caller import Caller
    from app.generation.spending import SpendPermit


class Permits:
    """Who may have something painted."""

    def of(self, caller: Caller) -> SpendPermit | ServiceError:
        """Return the permit of *caller*, or why there is none."""
        if not caller.role.includes(Role.PROJECT):
            return Forbidden("A key that reads can't have anything painted.")
        return UnlimitedPermit()
