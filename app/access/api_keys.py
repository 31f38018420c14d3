"""API keys to their holders; those in use are kept in memory."""

from __future__ import annotations

import hmac
from hashlib import sha256
from typing import TYPE_CHECKING, NamedTuple

from app.access.caller import BOOTSTRAP, DEFAULT_PROJECT, Audience, Caller, Role
from app.access.key_record import KeyRecord, Kind, id_of
from app.access.keys import document_of
from app.errors import KeyRevoked, NotAuthenticated

if TYPE_CHECKING:
    from app.access.look_ups import LookUpLimit
    from app.storage.known_documents import KnownDocuments
    from app.storage.ports.documents import Fields

# It serves every project, and names one in every request that needs it.
_ADMIN = Caller(DEFAULT_PROJECT, Role.ADMIN, BOOTSTRAP, Audience.KEY)


class ApiKey(NamedTuple):
    """An API key of the ledger, as it is compared; *is_active* unless revoked."""

    digest: bytes
    holder: Caller
    is_active: bool


def api_key(fields: Fields | None) -> ApiKey | None:
    """Return the API key in a document, None where there is none.

    Raises like `KeyRecord.from_fields` for a document that is damaged.
    """
    if fields is None:
        return None
    record = KeyRecord.from_fields(fields)
    if record.kind is not Kind.API or record.sha256 is None:
        return None
    holder = Caller(record.project, record.role, record.id, Audience.KEY)
    return ApiKey(bytes.fromhex(record.sha256), holder, record.is_active)


class ApiKeys:
    """Every key that is let in: the ledger's *records* and the *admin_key*."""

    def __init__(
        self,
        admin_key: str | None,
        records: KnownDocuments[ApiKey] | None = None,
        look_ups: LookUpLimit | None = None,
    ) -> None:
        self._admin_digest = sha256(admin_key.encode()).digest() if admin_key else None
        self._records = records
        self._look_ups = look_ups

    def known(self, key: str) -> Caller | None:
        """Return the holder of a key that is kept in memory, else None.

        Raises `NotAuthenticated` for one that is not let in, and for what has
        not the form of a key: nothing is looked up for that.
        """
        # Digests have one length, so that comparing them does not reveal the key's.
        digest = sha256(key.encode("utf-8", "surrogateescape")).digest()
        key_id = id_of(key)
        if key_id is not None and self._records is not None:
            known = self._records.cached(document_of(key_id))
            if known is not None:
                return _let_in(known, digest)
        if self._admin_digest is not None and hmac.compare_digest(
            digest, self._admin_digest
        ):
            return _ADMIN
        if key_id is None or self._records is None:
            raise _unknown()
        return None

    async def find(self, key: str, address: str) -> Caller:
        """Return the holder of *key*, looked up in the ledger for *address*.

        Raises `NotAuthenticated`, `RateLimited` where too many unknown keys
        are looked up, and `StorageUnavailable`.
        """
        key_id = id_of(key)
        if key_id is None or self._records is None:
            raise _unknown()
        look_up = self._look_ups.of(address) if self._look_ups else None
        known = await self._records.get(document_of(key_id), look_up=look_up)
        if known is None:
            raise _unknown()
        return _let_in(known, sha256(key.encode("utf-8", "surrogateescape")).digest())

    async def require_active(self, caller: Caller) -> None:
        """Return if *caller*'s key is active in the ledger within five seconds.

        Raises `KeyRevoked`, and `StorageUnavailable` where it can't be read.
        """
        if caller.is_bootstrap or self._records is None:
            return
        known = await self._records.current(document_of(caller.name))
        if known is None or not known.is_active:
            raise KeyRevoked(
                "The API key was revoked.", payer=(caller.audience, caller.name)
            )


def _let_in(known: ApiKey, digest: bytes) -> Caller:
    if not hmac.compare_digest(digest, known.digest) or not known.is_active:
        raise _unknown()
    return known.holder


def _unknown() -> NotAuthenticated:
    return NotAuthenticated("The API key is not known.")
