"""The check of signed URLs, by which an `<img>` needs no key until it expires."""

from __future__ import annotations

import logging
import re
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from app.access.addresses import DIRECT
from app.access.caller import Audience, Caller
from app.access.key_record import KeyRecord, Kind, is_key_id
from app.access.keys import document_of
from app.access.secret_box import WrongMasterKey
from app.errors import (
    InvalidParameter,
    InvalidSignature,
    SignatureExpired,
    SignatureRevoked,
)
from app.signing import canonical, is_signature
from app.storage.storage_key import Project

if TYPE_CHECKING:
    from collections.abc import Mapping

    from app.access.addresses import ClientAddresses
    from app.access.authenticator import Presented
    from app.access.look_ups import LookUpLimit
    from app.access.secret_box import SecretBox
    from app.storage.known_documents import KnownDocuments
    from app.storage.ports.documents import Fields

logger = logging.getLogger(__name__)

PARAMETERS = frozenset({"project", "exp", "kid", "sig"})

MAX_EXPIRES_IN_SECONDS = 3653 * 86_400

_KID = re.compile(r"[A-Za-z0-9_-]{1,64}")
_TIME = re.compile(r"0|[1-9][0-9]{0,11}", re.ASCII)


@dataclass(slots=True)
class Claims:
    """The content of a signed URL: the key, the request, and when it expires.

    *checked* is the key that verified it, and the caller that it stands for:
    the same URL is not verified twice.
    """

    path: str
    project: Project
    kid: str
    exp: int
    sig: str
    canonical: str
    checked: tuple[SigningKey, Caller] | None = None


def read_claims(path: str, given: Mapping[str, str]) -> Claims:
    """Read the claims of a query, unverified.

    Raises `InvalidParameter` where one is missing or malformed.
    """
    for name in sorted(PARAMETERS):
        if name not in given:
            raise InvalidParameter(name, f"A signed URL needs {name}.")
    project = Project.parse(given["project"])
    if not _KID.fullmatch(given["kid"]):
        raise InvalidParameter("kid", "kid is no key's id.")
    if not _TIME.fullmatch(given["exp"]):
        raise InvalidParameter("exp", "exp must be a time in Unix seconds.")
    exp = int(given["exp"])
    if exp > time.time() + MAX_EXPIRES_IN_SECONDS:
        raise InvalidParameter("exp", "exp is more than ten years ahead.")
    covered = canonical("GET", path, given)
    return Claims(path, project, given["kid"], exp, given["sig"], covered)


class SigningKey(NamedTuple):
    """A signing key that is active, and its secret."""

    record: KeyRecord
    secret: str


class SignedUrls:
    """The check of signatures; without *records* signed URLs are off."""

    def __init__(
        self,
        records: KnownDocuments[SigningKey] | None = None,
        look_ups: LookUpLimit | None = None,
        addresses: ClientAddresses = DIRECT,
    ) -> None:
        self._records = records
        self._look_ups = look_ups
        self._addresses = addresses

    async def verify(self, claims: Claims, presented: Presented) -> Caller:
        """Return the caller that a URL stands for, by the key that signed it.

        Raises `InvalidSignature` or `SignatureExpired`, and like a look-up of
        an API key where the signing key is not in memory.
        """
        if self._records is None:
            raise InvalidSignature(
                "Signed URLs are off: the service has no SIGNING_MASTER_KEY."
            )
        name = document_of(claims.kid)
        key = self._records.cached(name)
        if key is None and is_key_id(claims.kid):
            address = self._addresses.of(presented.peer, presented.headers)
            look_up = self._look_ups.of(address) if self._look_ups else None
            key = await self._records.get(name, look_up=look_up)
        checked = claims.checked
        # Compared as an object: a key that was read again may be revoked.
        if checked is None or checked[0] is not key:
            checked = claims.checked = _check(claims, key)
        if claims.exp <= time.time():
            raise SignatureExpired("The time of the signed URL is over.")
        return checked[1]

    async def require_active(self, caller: Caller) -> None:
        """Return if the key that signed for *caller* is active within five seconds.

        Raises `SignatureRevoked`, and `StorageUnavailable` where it can't be read.
        """
        if self._records is None:
            return
        key = await self._records.current(document_of(caller.name))
        if key is None or not key.record.is_active:
            raise SignatureRevoked(
                "The signature is not right.", payer=(caller.audience, caller.name)
            )


def _check(claims: Claims, key: SigningKey | None) -> tuple[SigningKey, Caller]:
    if (
        key is None
        or not is_signature(claims.sig, key.secret, claims.canonical)
        or key.record.project != claims.project
        or not key.record.is_active
    ):
        raise InvalidSignature("The signature is not right.")
    record = key.record
    caller = Caller(
        record.project, record.role, record.id, Audience.SIGNATURE, claims.exp
    )
    return key, caller


def signing_key(fields: Fields | None, box: SecretBox) -> SigningKey | None:
    """Return the signing key in a document, None where there is none."""
    if fields is None:
        return None
    record = KeyRecord.from_fields(fields)
    if record.kind is not Kind.SIGNING or record.sealed is None:
        return None
    try:
        return SigningKey(record, box.open(record.sealed, name=record.id))
    except WrongMasterKey:
        logger.warning("signing key is sealed otherwise", extra={"key_id": record.id})
        return None
