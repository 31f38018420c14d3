"""Without authentication: what a page of another site can't have a browser do.

Nobody shows a key then, so any website in a developer's browser could pay,
read and delete. A page that had its name resolve to this machine (DNS
rebinding) is known by its `Host`, and what other sites' pages cause by
`Sec-Fetch-Site` (Fetch Metadata) and `Origin`.
"""

from __future__ import annotations

from ipaddress import ip_address
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from aiohttp import hdrs
from multidict import istr

from app.errors import Forbidden

if TYPE_CHECKING:
    from multidict import CIMultiDictProxy

_SEC_FETCH_SITE = istr("Sec-Fetch-Site")
_SAFE = frozenset({hdrs.METH_GET, hdrs.METH_HEAD, hdrs.METH_OPTIONS})


class BrowserGuard:
    """Lets in what is asked under a local name, or under that of *base_url*."""

    def __init__(self, base_url: str) -> None:
        self._public = urlsplit(base_url).hostname

    def check(
        self,
        method: str,
        headers: CIMultiDictProxy[str],
        *,
        target: str,
        own_address: str | None,
    ) -> bool:
        """Say whether a page of another site asks; raises `Forbidden`.

        *target* is the request's, which names a host where it is absolute;
        *own_address* is the one that the connection was made to.
        """
        named = [f"//{host}" for host in headers.getall(hdrs.HOST, [])]
        if not target.startswith("/"):
            named.append(target)
        for one in named:
            if not self._is_ours(one, own_address):
                raise Forbidden(
                    "With AUTH=off the service answers under a local name, or under "
                    "that of PUBLIC_BASE_URL."
                )
        is_cross_site = headers.get(_SEC_FETCH_SITE) == "cross-site"
        if method in _SAFE:
            return is_cross_site
        origin = headers.get(hdrs.ORIGIN)
        if is_cross_site or (
            origin is not None and not self._is_ours(origin, own_address)
        ):
            raise Forbidden("With AUTH=off another site's page may change nothing.")
        return False

    def _is_ours(self, url: str, own_address: str | None) -> bool:
        try:
            name = urlsplit(url).hostname or ""
        except ValueError:
            return False
        if name in {self._public, own_address, "localhost"}:
            return True
        if name.endswith(".localhost"):
            return True
        try:
            return ip_address(name).is_loopback
        except ValueError:
            return False
