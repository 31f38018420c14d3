"""Client addresses: forwarding headers count only if trusted proxies sent them."""

from __future__ import annotations

from ipaddress import ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict, CIMultiDictProxy

from app.access.addresses import ClientAddresses

PROXIES = ClientAddresses([ip_network("10.0.0.0/8"), ip_network("fd00::/8")])


def of(peer: str | None, *lines: str, addresses: ClientAddresses = PROXIES) -> str:
    """Return the client's address for a peer and its headers."""
    headers = CIMultiDict([("X-Forwarded-For", line) for line in lines])
    return addresses.of(peer, CIMultiDictProxy(headers))


@pytest.mark.parametrize(
    ("peer", "lines", "client"),
    [
        ("10.0.0.1", ["203.0.113.7"], "203.0.113.7"),
        ("10.0.0.1", ["198.51.100.1, 203.0.113.7"], "203.0.113.7"),
        ("10.0.0.1", ["203.0.113.7, 10.0.0.9"], "203.0.113.7"),
        ("10.0.0.1", ["198.51.100.1", "203.0.113.7,10.0.0.9"], "203.0.113.7"),
        ("10.0.0.1", ["10.0.0.2, 10.0.0.3"], "10.0.0.2"),
        ("10.0.0.1", [], "10.0.0.1"),
        ("10.0.0.1", ["203.0.113.7, unknown"], "10.0.0.1"),
        ("10.0.0.1", ["203.0.113.7, "], "10.0.0.1"),
        # Azure and some load balancers write the port as well.
        ("10.0.0.1", ["203.0.113.7:8080"], "203.0.113.7"),
        ("10.0.0.1", ["203.0.113.7:8080, 10.0.0.9:443"], "203.0.113.7"),
        ("fd00::1", ["[2001:db8:1:2::9]:8080"], "2001:db8:1:2::/64"),
        ("fd00::1", ["[2001:db8:1:2::9]"], "2001:db8:1:2::/64"),
        ("10.0.0.1", ["203.0.113.7:"], "10.0.0.1"),
        ("10.0.0.1", ["203.0.113.7:http"], "10.0.0.1"),
        ("10.0.0.1", ["[203.0.113.7]:80"], "10.0.0.1"),
        ("10.0.0.1", ["[2001:db8::1]80"], "10.0.0.1"),
        ("203.0.113.9", ["198.51.100.1"], "203.0.113.9"),
        ("::ffff:10.0.0.1", ["203.0.113.7"], "203.0.113.7"),
        ("10.0.0.1", ["::ffff:203.0.113.7"], "203.0.113.7"),
        ("fd00::1", ["2001:db8:1:2:3:4:5:6"], "2001:db8:1:2::/64"),
        ("2001:db8:1:2::9", [], "2001:db8:1:2::/64"),
        ("", ["203.0.113.7"], ""),
        (None, ["203.0.113.7"], ""),
    ],
)
def test_the_nearest_address_that_is_no_proxy(
    peer: str | None, lines: list[str], client: str
) -> None:
    """The client is the rightmost address that is no proxy, else the peer."""
    assert of(peer, *lines) == client


def test_without_trusted_proxies_headers_are_ignored() -> None:
    """Without trusted proxies the client is the peer, whatever its headers contain."""
    assert of("10.0.0.1", "203.0.113.7", addresses=ClientAddresses(())) == "10.0.0.1"


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_whatever_is_sent_comes_out_as_an_address(line: str) -> None:
    """Any header gives a valid address or the peer's, and never raises."""
    ip_network(of("10.0.0.1", line))
