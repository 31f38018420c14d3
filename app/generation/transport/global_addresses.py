"""Global addresses: those of hosts on the open internet, and no others.

Checked where a connection is made, because a name can resolve to anything,
and to something else a second later.
"""

from __future__ import annotations

import socket
from ipaddress import IPv6Address, IPv6Network, ip_address, ip_network

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

# Python's own table lacks these (IANA special-purpose registries; 192.88.99.0
# relays into 6to4).
_NOT_GLOBAL_V4 = tuple(
    ip_network(network) for network in ("192.0.0.0/24", "192.88.99.0/24", "224.0.0.0/3")
)
# Everything that can carry an IPv4 address lies outside 2000::/3 (mapped,
# compatible, NAT64) or in these: Teredo and other protocol assignments, 6to4.
_GLOBAL_V6 = IPv6Network("2000::/3")
_NOT_GLOBAL_V6 = tuple(
    IPv6Network(network)
    for network in ("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20")
)
# The interface identifier of ISATAP (RFC 5214, 6.1), with either u bit.
_ISATAP = (0x00005EFE, 0x02005EFE)


def is_global(text: str) -> bool:
    """Return whether *text* is the literal address of a host on the open internet."""
    try:
        address = ip_address(text)
    except ValueError:
        return False
    if isinstance(address, IPv6Address):
        return (
            address in _GLOBAL_V6
            and not any(address in network for network in _NOT_GLOBAL_V6)
            and (int(address) >> 32) & 0xFFFFFFFF not in _ISATAP
        )
    return address.is_global and not any(
        address in network for network in _NOT_GLOBAL_V4
    )


class GlobalResolver(AbstractResolver):
    """Resolves names, but only to addresses on the open internet.

    aiohttp connects to what this returns, so that a name can't change its
    address between the check and the connection.
    """

    def __init__(self, resolver: AbstractResolver | None = None) -> None:
        self._resolver = resolver or aiohttp.ThreadedResolver()

    async def resolve(
        self,
        host: str,
        port: int = 0,
        family: socket.AddressFamily = socket.AF_UNSPEC,
    ) -> list[ResolveResult]:
        """Return the global addresses of *host*; raises `OSError` if it has none."""
        found = await self._resolver.resolve(host, port, family)
        addresses = [address for address in found if is_global(address["host"])]
        if not addresses:
            raise OSError("no global address")
        return addresses

    async def close(self) -> None:
        """Release what the wrapped resolver holds."""
        await self._resolver.close()
