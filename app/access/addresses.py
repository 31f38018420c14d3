"""Client addresses: forwarding headers count only from trusted proxies."""

from __future__ import annotations

from functools import lru_cache
from ipaddress import (
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
)
from typing import TYPE_CHECKING

from multidict import istr

if TYPE_CHECKING:
    from collections.abc import Iterable
    from ipaddress import IPv4Address

    from multidict import CIMultiDictProxy

    Address = IPv4Address | IPv6Address
    Network = IPv4Network | IPv6Network

_FORWARDED_FOR = istr("X-Forwarded-For")
_SUBNET_BITS = 64
_PORT_DIGITS = 5

# Addresses that are read, and looked for in the trusted networks, only once.
_KNOWN = 4096


class ClientAddresses:
    """The addresses of clients behind proxies in *trusted* networks."""

    def __init__(self, trusted: Iterable[Network]) -> None:
        self._trusted = tuple(trusted)
        self._trusts = lru_cache(maxsize=_KNOWN)(self._is_trusted)

    def of(self, peer: str | None, headers: CIMultiDictProxy[str]) -> str:
        """Return the client's address, that of its /64 for IPv6.

        `X-Forwarded-For` counts where the *peer* is trusted, and is read from
        the right to the first address that is not; what can't be parsed means
        the peer.
        """
        nearest = _parsed(peer or "")
        if nearest is None:
            return peer or ""
        if self._trusted and self._trusts(nearest) and _FORWARDED_FOR in headers:
            nearest = self._farthest(headers.getall(_FORWARDED_FOR)) or nearest
        return _limited(nearest)

    def _farthest(self, lines: list[str]) -> Address | None:
        address: Address | None = None
        for part in reversed(",".join(lines).split(",")):
            address = _parsed(_without_port(part.strip()))
            if address is None or not self._trusts(address):
                return address
        return address

    def _is_trusted(self, address: Address) -> bool:
        return any(address in network for network in self._trusted)


DIRECT = ClientAddresses(())
"""No proxy is trusted: the peer is the client."""


def _without_port(text: str) -> str:
    """Return the ip in `ip:port`, `[ip]:port` and `[ip]`; other texts as they are."""
    if text.startswith("["):
        ip, _, port = text[1:].partition("]")
        has_form = not port or (port.startswith(":") and _is_port(port[1:]))
        return ip if has_form and ":" in ip else text
    ip, _, port = text.partition(":")
    return ip if _is_port(port) and "." in ip else text


def _is_port(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= _PORT_DIGITS


@lru_cache(maxsize=_KNOWN)
def _parsed(text: str) -> Address | None:
    try:
        address = ip_address(text)
    except ValueError:
        return None
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


def _limited(address: Address) -> str:
    """Return the address to count by: for IPv6 the /64, which one household has."""
    if isinstance(address, IPv6Address):
        network = IPv6Network((int(address), _SUBNET_BITS), strict=False)
        return str(network)
    return str(address)
