"""Keys in the ledger: made, listed and revoked."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from hashlib import sha256
from typing import TYPE_CHECKING, NamedTuple

from app.access.key_record import (
    KeyRecord,
    Kind,
    api_key,
    is_key_id,
    new_id,
    new_secret,
    now,
    record_of,
)
from app.access.secret_box import WrongMasterKey
from app.errors import NoSigningKey, NotFound, QuotaFull

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from app.access.caller import Role
    from app.access.secret_box import SecretBox
    from app.storage.ports.documents import Documents, Fields
    from app.storage.storage_key import Project

logger = logging.getLogger(__name__)

_READ_AT_ONCE = 16


def document_of(key_id: str) -> str:
    """Return where the record of a key lies."""
    return f"keys/{key_id}"


# Which keys a project has, in the order in which they were made.
_INDEX = "keys/of/"
# Those of them that are not revoked, by kind.
_LIVE = "keys/live/"

MAX_LIVE_KEYS = 100


class NewKey(NamedTuple):
    """A key that was just made; *key* is shown once and kept nowhere."""

    record: KeyRecord
    key: str


class Keys:
    """The keys of all projects; without a *box* there are no signing keys.

    *on_change* is called with the document of a key that was changed here.
    """

    def __init__(
        self,
        documents: Documents,
        box: SecretBox | None,
        *,
        on_change: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._documents = documents
        self._box = box
        self._on_change = on_change

    async def create(
        self, project: Project, role: Role, kind: Kind, *, by: str
    ) -> NewKey:
        """Make a key of *project*; *by* is who asked, for the log.

        Raises `NoSigningKey` where secrets could not be kept, `QuotaFull` where
        the project has as many as it may, and `StorageUnavailable`.
        """
        key_id, secret = new_id(), new_secret()
        record = KeyRecord(key_id, project, role, kind, created_at=now())
        if kind is Kind.API:
            key = api_key(key_id, secret)
            record = replace(record, sha256=sha256(key.encode()).hexdigest())
        elif self._box is None:
            raise NoSigningKey(
                "Signed URLs are off: SIGNING_MASTER_KEY is not set, so no secret "
                "can be kept."
            )
        else:
            key = secret
            record = replace(record, sealed=self._box.seal(secret, name=key_id))
        await self._require_room(record)
        # The index first: a key that is not listed could never be revoked.
        await self._documents.write(_index_entry(record), {})
        await self._documents.write(document_of(key_id), record.as_fields())
        await self._enter(record)
        logger.info("key created", extra={**_as_log_fields(record), "by": by})
        return NewKey(record, key)

    async def _require_room(self, record: KeyRecord) -> None:
        """Raise `QuotaFull` where the project has as many keys as it may."""
        names = await self._names(_live_prefix(record.project, record.kind))
        if len(names) >= MAX_LIVE_KEYS:
            raise _too_many(record.kind)

    async def _enter(self, record: KeyRecord) -> None:
        """Write a key among the live ones; raises `QuotaFull` beyond the limit.

        Written first and counted then: of keys that are made at once those
        withdraw that come behind the last one that fits. It comes after the key's
        document: the newest of the live keys signs, and each can be revoked.
        """
        entry, prefix = _live_entry(record), _live_prefix(record.project, record.kind)
        await self._documents.write(entry, {})
        if entry in (await self._names(prefix))[MAX_LIVE_KEYS:]:
            for name in (entry, document_of(record.id), _index_entry(record)):
                await self._documents.remove(name)
            raise _too_many(record.kind)

    async def _names(self, prefix: str) -> Sequence[str]:
        return [name async for name in self._documents.names(prefix)]

    async def list(self, project: Project | None = None) -> list[KeyRecord]:
        """Return the keys of *project*, or of all, each project's in order."""
        prefix = f"{_INDEX}{project}/" if project else _INDEX
        names = [name async for name in self._documents.names(prefix)]
        at_once = asyncio.Semaphore(_READ_AT_ONCE)

        async def read(name: str) -> KeyRecord | None:
            async with at_once:
                return await self.find(name.rpartition("-")[2])

        records = await asyncio.gather(*map(read, names))
        return [record for record in records if record is not None]

    async def find(self, key_id: str) -> KeyRecord | None:
        """Return a key's record, or None."""
        if not is_key_id(key_id):
            return None
        fields = await self._documents.read(document_of(key_id))
        return record_of(fields)

    async def revoke(self, key_id: str, *, by: str) -> None:
        """Revoke a key; a second call is a no-op. Raises `NotFound`."""
        found = await self.find(key_id)
        if found is None:
            raise NotFound("There is no such key.")

        def revoked(fields: Fields | None) -> Fields:
            if fields is None:
                raise NotFound("There is no such key.")
            moment = fields["revoked_at"] or now().isoformat()
            return {**fields, "revoked_at": moment}

        # No longer chosen to sign, then refused: a second call finishes this one.
        await self._documents.remove(_live_entry(found))
        fields = await self._documents.change(document_of(key_id), revoked)
        self._on_change(document_of(key_id))
        record = KeyRecord.from_fields(fields)
        logger.info("key revoked", extra={**_as_log_fields(record), "by": by})

    async def signing_key(
        self, project: Project, key_id: str | None = None
    ) -> tuple[KeyRecord, str] | None:
        """Return an active signing key of *project* and its secret.

        The newest unless *key_id* names one; None where there is none. At most
        one document is read. Raises `NoSigningKey` where its secret can't be
        opened.
        """
        if self._box is None:
            raise NoSigningKey("Signed URLs are off: SIGNING_MASTER_KEY is not set.")
        if key_id is None:
            names = await self._names(_live_prefix(project, Kind.SIGNING))
            # Those behind are being withdrawn.
            names = names[:MAX_LIVE_KEYS]
            key_id = names[-1].rpartition("-")[2] if names else ""
        record = await self.find(key_id)
        if record is None or record.sealed is None or not record.is_active:
            return None
        if record.kind is not Kind.SIGNING or record.project != project:
            return None
        try:
            return record, self._box.open(record.sealed, name=record.id)
        except WrongMasterKey as error:
            raise NoSigningKey(
                f"The signing key {record.id} was made under another "
                "SIGNING_MASTER_KEY: set that one again, or make a new signing key."
            ) from error


def _index_entry(record: KeyRecord) -> str:
    return f"{_INDEX}{record.project}/{_in_order(record)}"


def _live_prefix(project: Project, kind: Kind) -> str:
    return f"{_LIVE}{kind}/{project}/"


def _live_entry(record: KeyRecord) -> str:
    return _live_prefix(record.project, record.kind) + _in_order(record)


def _in_order(record: KeyRecord) -> str:
    made_ms = round(record.created_at.timestamp() * 1000)
    return f"{made_ms:013}-{record.id}"


def _too_many(kind: Kind) -> QuotaFull:
    return QuotaFull(
        f"The project has {MAX_LIVE_KEYS} {kind} keys; revoke one that is not used."
    )


def _as_log_fields(record: KeyRecord) -> dict[str, str]:
    return {
        "key_id": record.id,
        "project": str(record.project),
        "role": record.role,
        "kind": record.kind,
    }
