"""Access, assembled: production, tests and commands call the same."""

from __future__ import annotations

from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from app.access.addresses import ClientAddresses
from app.access.api_keys import ApiKeys
from app.access.authenticator import Authenticator
from app.access.key_record import record_of
from app.access.keys import Keys
from app.access.known_documents import KnownDocuments
from app.access.look_ups import LookUpLimit
from app.access.permits import Permits
from app.access.secret_box import SecretBox
from app.access.signed_urls import SignedUrls, signing_key

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from app.access.addresses import Network
    from app.storage.ports.documents import Documents

# A key's id is random, so what is not there will hardly ever be made.
_ABSENT_KEY_SECONDS = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessRules:
    """What the operator decided about who may ask and spend.

    Without *requires_keys* everyone is trusted. *master_key* is base64url.
    """

    requires_keys: bool = True
    admin_key: str | None = None
    master_key: str | None = None
    trusted_proxies: Sequence[Network] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """Who asks, and what they may do and spend."""

    addresses: ClientAddresses
    authenticator: Authenticator
    keys: Keys
    permits: Permits
    signed_urls: SignedUrls


@asynccontextmanager
async def open_access(
    documents: Documents, rules: AccessRules
) -> AsyncIterator[Access]:
    """Open access over the ledger's *documents*."""
    box = SecretBox.of(rules.master_key) if rules.master_key else None
    addresses = ClientAddresses(rules.trusted_proxies)
    look_ups = LookUpLimit()
    api = KnownDocuments(
        documents,
        lambda _, fields: record_of(fields),
        absent_seconds=_ABSENT_KEY_SECONDS,
    )
    signing = KnownDocuments(
        documents,
        lambda _, fields: signing_key(fields, box) if box else None,
        absent_seconds=_ABSENT_KEY_SECONDS,
    )

    def forget(name: str) -> None:
        api.forget(name)
        signing.forget(name)

    keys = ApiKeys(rules.admin_key, api, look_ups)
    async with AsyncExitStack() as stack:
        if rules.requires_keys:
            await stack.enter_async_context(api.kept_fresh())
            await stack.enter_async_context(signing.kept_fresh())
        yield Access(
            addresses=addresses,
            authenticator=Authenticator(
                keys if rules.requires_keys else None, addresses
            ),
            keys=Keys(documents, box, on_change=forget),
            permits=Permits(),
            signed_urls=SignedUrls(signing if box else None, look_ups, addresses),
        )
