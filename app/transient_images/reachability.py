"""Whether an outside provider can fetch a URL, judged by its spelling. Pure.

Nothing is resolved and nothing asked: a name that is spelled like one on the
open internet gets the benefit of the doubt.
"""

from __future__ import annotations

import socket
from ipaddress import IPv4Address
from urllib.parse import unquote, urlsplit

from app.generation.transport.global_addresses import is_global

# Special-use names that no public resolver answers: RFC 6761 (localhost),
# 6762 (local), 8375 (home.arpa), ICANN's choice for private use (internal),
# and what home routers like to use (lan).
_PRIVATE_NAMES = ("local", "internal", "localhost", "lan", "home.arpa")


def is_reachable(url: str) -> bool:
    """Return whether *url* is https and its host neither local nor private.

    Not reachable are literal addresses that are not global (also those in the
    short, octal or hexadecimal forms that resolvers accept, and every IPv4
    address within IPv6), single labels, and names under the private domains.
    """
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        _ = parts.port
    except ValueError:
        return False
    if parts.scheme != "https" or not host:
        return False
    if parts.netloc.rpartition("@")[2].startswith("["):
        return is_global(host)
    name = _ascii_name(host)
    if name is None or "." not in name:
        return False
    if _ends_in_a_number(name):
        return _is_global_v4(name)
    return not any(f".{name}".endswith(f".{private}") for private in _PRIVATE_NAMES)


def _ascii_name(host: str) -> str | None:
    """Return *host* as a resolver sees it, or None where it is no host name."""
    try:
        # IDNA maps full-width letters and the three other dots as well; an
        # empty label, as in two dots at the end, is an error.
        name = unquote(host, errors="strict").encode("idna").decode("ascii").lower()
    except UnicodeError:
        return None
    name = name.removesuffix(".")
    return None if set(name) & set(" /:@?#[]\\%") else name


def _ends_in_a_number(name: str) -> bool:
    # Such a name is an IPv4 address or nothing (WHATWG URL Standard, 3.5).
    label = name.rpartition(".")[2]
    return label.isdecimal() or label.startswith("0x")


def _is_global_v4(name: str) -> bool:
    try:
        # Reads the short, octal and hexadecimal forms that resolvers accept.
        return is_global(str(IPv4Address(socket.inet_aton(name))))
    except OSError:
        return False
