"""Without authentication: what a page of another site can't have a browser do.

No key is asked for then, so any website in a developer's browser could pay,
read and delete. A page that had its name resolve to this machine (DNS
rebinding) is known by its `Host`. What other sites' pages cause is known by
`Sec-Fetch-Site` (Fetch Metadata), `Origin` or `Referer`: browsers leave the
first out towards plain-http addresses that are not this machine's, and a page
may suppress the last. `docs/security.md` says what is left.
"""

from __future__ import annotations

from functools import lru_cache
from ipaddress import ip_address
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from aiohttp import hdrs
from multidict import istr

from app.errors import Forbidden

if TYPE_CHECKING:
    from collections.abc import Sequence

    from multidict import CIMultiDictProxy

_SEC_FETCH_SITE = istr("Sec-Fetch-Site")
_SAFE = frozenset({hdrs.METH_GET, hdrs.METH_HEAD, hdrs.METH_OPTIONS})


class BrowserGuard:
    """Lets in what is asked under a local name, *base_url*'s or *allowed_hosts*.

    `*.example.com` of *allowed_hosts* is every name below `example.com`.
    """

    def __init__(self, base_url: str, allowed_hosts: Sequence[str] = ()) -> None:
        public = urlsplit(base_url).hostname
        named = {host for host in allowed_hosts if not host.startswith("*.")}
        self._names = {"localhost", *named, *([public] if public else [])}
        self._below = (
            ".localhost",
            *(host[1:] for host in allowed_hosts if host.startswith("*.")),
        )

    def check(
        self,
        method: str,
        headers: CIMultiDictProxy[str],
        *,
        target: str,
        own_address: str | None,
    ) -> bool:
        """Return whether a page of another site asks; raises `Forbidden`.

        *target* is the request's, which names a host where it is absolute;
        *own_address* is the one that the connection was made to.
        """
        named = [f"//{host}" for host in headers.getall(hdrs.HOST, [])]
        if not target.startswith("/"):
            named.append(target)
        for one in named:
            if not self._is_ours(_host_of(one), own_address):
                raise Forbidden(
                    "With AUTH=off the service answers under a local name, that of "
                    "PUBLIC_BASE_URL, and those in ALLOWED_HOSTS."
                )
        is_cross_site = _is_cross_site(headers, {_host_of(one) for one in named})
        if is_cross_site and method not in _SAFE:
            raise Forbidden("With AUTH=off another site's page may change nothing.")
        return is_cross_site

    def _is_ours(self, name: str, own_address: str | None) -> bool:
        if name in self._names or (name and name == own_address):
            return True
        if name.endswith(self._below):
            return True
        try:
            return ip_address(name).is_loopback
        except ValueError:
            return False


def _is_cross_site(headers: CIMultiDictProxy[str], own: set[str]) -> bool:
    """Return whether the request says that a page of another host than *own* asks."""
    if headers.get(_SEC_FETCH_SITE) == "cross-site":
        return True
    if hdrs.ORIGIN in headers:
        # An opaque origin, `null`, has no host, and is another one.
        return any(_host_of(one) not in own for one in headers.getall(hdrs.ORIGIN))
    return any(_host_of(one) not in own for one in headers.getall(hdrs.REFERER, []))


@lru_cache(256)
def _host_of(url: str) -> str:
    """Return the lower-case host that *url* names, empty where it names none."""
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""
