"""Cache-Control of live answers, by how the caller authenticated.

docs/decisions/0013-shared-caches.md says why.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from app.access.caller import Audience
from app.http.picture_headers import KEPT_BY_ALL, KEPT_BY_VISITORS, Part

if TYPE_CHECKING:
    from app.access.caller import Caller

A_YEAR_SECONDS = 31_536_000


def caching_of(caller: Caller, keyed: Part) -> Part:
    """Return the caching headers of an answer to *caller*; *keyed* is for keys."""
    match caller.audience:
        case Audience.KEY:
            return keyed
        case Audience.SIGNATURE:
            left = max(0, (caller.expires_at or 0) - int(time.time()))
            seconds = min(A_YEAR_SECONDS, left)
            return Part.of({"Cache-Control": f"public, max-age={seconds}"})
        case Audience.SCOPE:
            return KEPT_BY_VISITORS
        case Audience.ANYONE:
            return KEPT_BY_ALL
