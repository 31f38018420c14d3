"""A Lua script, and the digest that EVALSHA names it by."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass


@dataclass(slots=True, eq=False)
class Script:
    """A script that Redis keeps by its digest; *name* is for operators."""

    source: str
    sha: str
    name: str = ""

    @classmethod
    def of(cls, source: str) -> Script:
        """Prepare *source*, whose first line is its shebang."""
        source = source.strip() + "\n"
        digest = hashlib.sha1(source.encode(), usedforsecurity=False)
        return cls(source, digest.hexdigest())
