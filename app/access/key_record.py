"""A key as the ledger has it: API keys by their hash, signing secrets sealed."""

from __future__ import annotations

import logging
import re
import secrets
import string
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from app.access.caller import Role
from app.errors import ServiceError
from app.storage.storage_key import Project

if TYPE_CHECKING:
    from app.storage.ports.documents import Fields

logger = logging.getLogger(__name__)

_ID_CHARACTERS = string.ascii_lowercase + string.digits
_ID_LENGTH = 12
_SECRET_BYTES = 32

_ID = re.compile(r"[a-z0-9]{12}", re.ASCII)
_API_KEY_LENGTH = len("pk_") + _ID_LENGTH + len("_") + 43


class Kind(StrEnum):
    """The purpose of a key: to make requests, or to sign URLs."""

    API = "api"
    SIGNING = "signing"


@dataclass(frozen=True, slots=True)
class KeyRecord:
    """One key; *sha256* is set for API keys, *sealed* for signing keys."""

    id: str
    project: Project
    role: Role
    kind: Kind
    created_at: datetime
    revoked_at: datetime | None = None
    sha256: str | None = None
    sealed: str | None = None

    @property
    def is_active(self) -> bool:
        """Whether the key has not been revoked."""
        return self.revoked_at is None

    def as_json(self) -> dict[str, Any]:
        """Return the fields that may be shown: neither the key nor its hash."""
        return {
            "id": self.id,
            "project": str(self.project),
            "role": self.role,
            "kind": self.kind,
            "created_at": self.created_at,
            "revoked_at": self.revoked_at,
        }

    def as_fields(self) -> Fields:
        """Return the document."""
        fields = {**self.as_json(), "sha256": self.sha256, "sealed": self.sealed}
        for name in ("created_at", "revoked_at"):
            moment = fields[name]
            fields[name] = moment.isoformat() if moment is not None else None
        return fields

    @classmethod
    def from_fields(cls, fields: Fields) -> KeyRecord:
        """Read the form of `as_fields`."""
        revoked_at = fields["revoked_at"]
        return cls(
            id=fields["id"],
            project=Project.parse(fields["project"]),
            role=Role(fields["role"]),
            kind=Kind(fields["kind"]),
            created_at=datetime.fromisoformat(fields["created_at"]),
            revoked_at=datetime.fromisoformat(revoked_at) if revoked_at else None,
            sha256=fields["sha256"],
            sealed=fields["sealed"],
        )


def record_of(fields: Fields | None) -> KeyRecord | None:
    """Return the record in a document, None where there is none to be read."""
    if fields is None:
        return None
    try:
        return KeyRecord.from_fields(fields)
    except (KeyError, TypeError, ValueError, ServiceError):
        logger.exception("key record is unreadable")
        return None


def new_id() -> str:
    """Return a random id; 62 bits of it."""
    return "".join(secrets.choice(_ID_CHARACTERS) for _ in range(_ID_LENGTH))


def new_secret() -> str:
    """Return 43 characters of base64url: 256 random bits."""
    return secrets.token_urlsafe(_SECRET_BYTES)


def api_key(key_id: str, secret: str) -> str:
    """Return an API key as it is shown, once."""
    return f"pk_{key_id}_{secret}"


def id_of(key: str) -> str | None:
    """Return the id in an API key, None for what has not the form of one."""
    # Only the form of the id is checked: the digest decides whether it is the key.
    has_form = len(key) == _API_KEY_LENGTH and key.startswith("pk_")
    key_id = key[3:15]
    return key_id if has_form and key_id.isascii() and key_id.isalnum() else None


def is_key_id(text: str) -> bool:
    """Return whether *text* has the form of a key's id."""
    return _ID.fullmatch(text) is not None


def now() -> datetime:
    """Return the time, in whole milliseconds of UTC."""
    moment = datetime.now(UTC)
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)
