"""Access, assembled: production, tests and commands call the same."""

from __future__ import annotations

from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from app.access.addresses import ClientAddresses
from app.access.api_keys import ApiKeys, api_key
from app.access.authenticator import Authenticator
from app.access.browser_guard import BrowserGuard
from app.access.caller import Audience, Caller
from app.access.keys import Keys
from app.access.look_ups import LookUpLimit
from app.access.rate_limits import RateLimits
from app.access.secret_box import SecretBox
from app.access.signed_urls import SignedUrls, signing_key
from app.storage.known_documents import KnownDocuments

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

    from app.access.addresses import Network
    from app.storage.ports.documents import Documents
    from app.storage.ports.rates import Rates

    RequireActive = Callable[[Caller], Awaitable[None]]

# A key's id is random, so what is not there will hardly ever be made.
_ABSENT_KEY_SECONDS = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessRules:
    """The operator's settings for authentication and rate limits.

    Without *requires_keys* everyone is trusted. *master_key* is base64url.
    """

    requires_keys: bool = True
    base_url: str = "http://127.0.0.1"
    allowed_hosts: Sequence[str] = ()
    admin_key: str | None = None
    master_key: str | None = None
    trusted_proxies: Sequence[Network] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """The parts that authenticate callers and limit their rates."""

    addresses: ClientAddresses
    authenticator: Authenticator
    guard: BrowserGuard | None
    keys: Keys
    scope_look_ups: LookUpLimit
    require_active: RequireActive
    on_degraded: Callable[[str], None]
    rate_limits: RateLimits
    signed_urls: SignedUrls


def keys_over(documents: Documents, rules: AccessRules) -> Keys:
    """Return the keys in the ledger, for a command that serves no requests."""
    return Keys(documents, SecretBox.of(rules.master_key) if rules.master_key else None)


@asynccontextmanager
async def open_access(
    documents: Documents,
    rates: Rates,
    rules: AccessRules,
    *,
    on_degraded: Callable[[str], None] = lambda _: None,
) -> AsyncIterator[Access]:
    """Open access over the ledger's *documents*, and what all replicas count."""
    box = SecretBox.of(rules.master_key) if rules.master_key else None
    addresses = ClientAddresses(rules.trusted_proxies)
    api = KnownDocuments(
        documents,
        lambda _, fields: api_key(fields),
        absent_seconds=_ABSENT_KEY_SECONDS,
        on_stale=lambda: on_degraded("stale_documents"),
    )
    signing = KnownDocuments(
        documents,
        lambda _, fields: signing_key(fields, box) if box else None,
        absent_seconds=_ABSENT_KEY_SECONDS,
        on_stale=lambda: on_degraded("stale_documents"),
    )

    def forget(name: str) -> None:
        api.forget(name)
        signing.forget(name)

    keys = ApiKeys(rules.admin_key, api, LookUpLimit("keys"))
    signed_urls = SignedUrls(
        signing if box else None, LookUpLimit("signing keys"), addresses
    )

    async def require_active(caller: Caller) -> None:
        if caller.audience is Audience.KEY:
            await keys.require_active(caller)
        elif caller.audience is Audience.SIGNATURE:
            await signed_urls.require_active(caller)

    async with AsyncExitStack() as stack:
        for known in (api, signing):
            await stack.enter_async_context(known.kept_fresh())
        yield Access(
            addresses=addresses,
            authenticator=Authenticator(
                keys if rules.requires_keys else None, addresses
            ),
            guard=None
            if rules.requires_keys
            else BrowserGuard(rules.base_url, rules.allowed_hosts),
            keys=Keys(documents, box, on_change=forget),
            scope_look_ups=LookUpLimit("scopes"),
            require_active=require_active,
            on_degraded=on_degraded,
            rate_limits=RateLimits(rates, on_degraded),
            signed_urls=signed_urls,
        )
