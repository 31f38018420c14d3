"""API keys to whoever holds them, at hand for those that are in use."""

from __future__ import annotations

import hmac
from hashlib import sha256
from typing import TYPE_CHECKING

from app.access.authenticator import DEFAULT_PROJECT
from app.access.caller import BOOTSTRAP, Role
from app.access.key_record import Holder, KeyRecord, Kind, id_of
from app.access.keys import document_of
from app.errors import NotAuthenticated

if TYPE_CHECKING:
    from app.access.known_documents import KnownDocuments
    from app.access.look_ups import LookUpLimit

# It serves every project, and names one in every request that needs it.
_ADMIN = Holder(DEFAULT_PROJECT, Role.ADMIN, BOOTSTRAP)


class ApiKeys:
    """Every key that is let in: the ledger's *records* and the *admin_key*."""

    def __init__(
        self,
        admin_key: str | None,
        records: KnownDocuments[KeyRecord] | None = None,
        look_ups: LookUpLimit | None = None,
    ) -> None:
        self._admin_digest = sha256(admin_key.encode()).digest() if admin_key else None
        self._records = records
        self._look_ups = look_ups

    def known(self, key: str) -> Holder | None:
        """Return the holder of a key whose record is at hand, else None.

        Raises `NotAuthenticated` for one that is at hand and not let in.
        """
        # Digests have one length, so that comparing tells nothing of the key's.
        digest = sha256(key.encode("utf-8", "surrogateescape")).digest()
        if self._admin_digest is not None and hmac.compare_digest(
            digest, self._admin_digest
        ):
            return _ADMIN
        key_id = id_of(key)
        if key_id is None or self._records is None:
            # It has not the form of a key: nothing is looked up.
            raise _unknown()
        record = self._records.at_hand(document_of(key_id))
        return None if record is None else _let_in(record, digest)

    async def find(self, key: str, address: str) -> Holder:
        """Return the holder of *key*, looked up in the ledger for *address*.

        Raises `NotAuthenticated`, `RateLimited` where too many unknown keys
        are looked up, and `StorageUnavailable`.
        """
        key_id = id_of(key)
        if key_id is None or self._records is None:
            raise _unknown()
        limit = self._look_ups
        record = await self._records.get(
            document_of(key_id),
            before_look_up=lambda: limit.take(address) if limit else None,
        )
        if record is None:
            raise _unknown()
        return _let_in(record, sha256(key.encode()).digest())


def _let_in(record: KeyRecord, digest: bytes) -> Holder:
    expected = bytes.fromhex(record.sha256 or "")
    is_it = hmac.compare_digest(digest, expected)
    if not is_it or record.kind is not Kind.API or not record.is_active:
        raise _unknown()
    return record.holder


def _unknown() -> NotAuthenticated:
    return NotAuthenticated("The API key is not known.")
