"""Access, assembled: production, tests and commands call the same."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

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
    import asyncio
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence

    from app.access.addresses import Network
    from app.storage.ports.documents import Documents, Fields
    from app.storage.ports.rates import Rates

    RequireActive = Callable[[Caller], Awaitable[None]]

_T = TypeVar("_T")

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
    return Keys(documents, _box(rules))


@asynccontextmanager
async def open_access(
    documents: Documents,
    rates: Rates,
    rules: AccessRules,
    *,
    listener_closed: asyncio.Event | None = None,
    on_degraded: Callable[[str], None] = lambda _: None,
) -> AsyncIterator[Access]:
    """Open access over the ledger's *documents*, and what all replicas count.

    From *listener_closed* on no refusal is held.
    """
    look_up_limit = partial(LookUpLimit, until=listener_closed)
    box = _box(rules)
    addresses = ClientAddresses(rules.trusted_proxies)
    api = _known_keys(documents, lambda _, fields: api_key(fields), on_degraded)
    signing = _known_keys(
        documents,
        lambda _, fields: signing_key(fields, box) if box else None,
        on_degraded,
    )
    keys = ApiKeys(rules.admin_key, api, look_up_limit("keys"))
    signed_urls = SignedUrls(
        signing if box else None, look_up_limit("signing keys"), addresses
    )
    requires_keys = rules.requires_keys
    async with api.kept_fresh(), signing.kept_fresh():
        yield Access(
            addresses=addresses,
            authenticator=Authenticator(keys if requires_keys else None, addresses),
            guard=None
            if requires_keys
            else BrowserGuard(rules.base_url, rules.allowed_hosts),
            keys=Keys(documents, box, on_change=partial(_forget, (api, signing))),
            scope_look_ups=look_up_limit("scopes"),
            require_active=partial(_require_active, keys, signed_urls),
            on_degraded=on_degraded,
            rate_limits=RateLimits(rates, on_degraded),
            signed_urls=signed_urls,
        )


def _box(rules: AccessRules) -> SecretBox | None:
    return SecretBox.of(rules.master_key) if rules.master_key else None


def _known_keys(
    documents: Documents,
    parse: Callable[[str, Fields | None], _T | None],
    on_degraded: Callable[[str], None],
) -> KnownDocuments[_T]:
    return KnownDocuments(
        documents,
        parse,
        absent_seconds=_ABSENT_KEY_SECONDS,
        on_stale=partial(on_degraded, "stale_documents"),
    )


def _forget(caches: Iterable[KnownDocuments[Any]], name: str) -> None:
    for cache in caches:
        cache.forget(name)


async def _require_active(
    keys: ApiKeys, signed_urls: SignedUrls, caller: Caller
) -> None:
    if caller.audience is Audience.KEY:
        await keys.require_active(caller)
    elif caller.audience is Audience.SIGNATURE:
        await signed_urls.require_active(caller)
