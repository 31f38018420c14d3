"""API keys to whoever holds them."""

from __future__ import annotations

import hmac
from hashlib import sha256
from typing import TYPE_CHECKING, NamedTuple

from app.access.caller import Role
from app.errors import NotAuthenticated
from app.storage.storage_key import Project

if TYPE_CHECKING:
    from app.storage.storage_key import Project as _Project

# The key of the settings serves every project and belongs to none.
NO_PROJECT = Project("default", "main")
BOOTSTRAP = "ADMIN_API_KEY"


class Holder(NamedTuple):
    """Whoever holds a key; *name* is the key's id."""

    project: _Project
    role: Role
    name: str


class ApiKeys:
    """Every key that is let in."""

    def __init__(self, admin_key: str | None) -> None:
        self._admin_digest = sha256(admin_key.encode()).digest() if admin_key else None

    def known(self, key: str) -> Holder | None:
        """Return the holder of a key that is at hand, else None."""
        # Digests have one length, so that comparing tells nothing of the key's.
        presented = sha256(key.encode("utf-8", "surrogateescape")).digest()
        if self._admin_digest is not None and hmac.compare_digest(
            presented, self._admin_digest
        ):
            return _ADMIN
        return None

    async def find(self, key: str, address: str) -> Holder:  # noqa: ARG002
        """Return the holder of *key*; raises `NotAuthenticated`."""
        raise NotAuthenticated("The API key is not known.")


_ADMIN = Holder(NO_PROJECT, Role.ADMIN, BOOTSTRAP)
