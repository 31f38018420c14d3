"""`REDIS_URL`, parsed: one server, Sentinel or Cluster.

Its own parser rather than redis-py's, which knows only one host, passes over a
database that is no number, and takes any option until it first connects. No
message ever quotes the address: it may hold a password.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

DEFAULT_PORT = 6379
DEFAULT_SENTINEL_PORT = 26_379
MAX_PORT = 65_535


class Topology(Enum):
    """The kinds of Redis that an address may name."""

    SERVER = "server"
    SENTINEL = "sentinel"
    CLUSTER = "cluster"


@dataclass(frozen=True, slots=True, kw_only=True)
class RedisAddress:
    """The address of Redis, with the credentials.

    *path* is a Unix socket's, *service* what Sentinel calls the primary;
    *credentials*, *sentinel_credentials* and *tls* are redis-py's keyword
    arguments, *tls* is None for plain connections.
    """

    topology: Topology = Topology.SERVER
    hosts: tuple[tuple[str, int], ...] = ()
    path: str = ""
    service: str = ""
    database: int = 0
    credentials: Mapping[str, str] = field(default_factory=dict, repr=False)
    sentinel_credentials: Mapping[str, str] = field(default_factory=dict, repr=False)
    tls: Mapping[str, Any] | None = None


def parse_address(url: str) -> RedisAddress:
    """Read one of these forms; `ValueError` says what is wrong with any other.

    - `redis://[user:password@]host[:port][/db]`
    - `unix://[user:password@]/path[?db=1]`
    - `redis+sentinel://[user:password@]host[:port],.../service[/db]`, with
      `?sentinel_username=` and `?sentinel_password=` for the sentinels' own
    - `redis+cluster://[user:password@]host[:port],...`

    `rediss` in place of `redis` is TLS, with `?ssl_ca_certs=` and its like.
    What is special in an address is percent-encoded in names and passwords.
    """
    try:
        parts = urlsplit(url)
    except ValueError:
        raise ValueError("is no address") from None
    if parts.fragment or "@" in parts.path:
        raise ValueError("has a #, / or ? in its password that is not percent-encoded")
    options = _options(parts)
    credentials = _credentials(parts)
    if parts.scheme == "unix":
        return _unix(parts, credentials, options)
    transport, _, kind = parts.scheme.partition("+")
    if transport not in {"redis", "rediss"} or kind not in _FORMS:
        raise ValueError("does not start with a scheme of Redis")
    tls = {name: value for name, value in options.items() if name.startswith("ssl_")}
    if tls and transport == "redis":
        raise ValueError("has ssl_ options, but is not rediss")
    return _FORMS[kind](
        parts,
        options,
        {"credentials": credentials, "tls": tls if transport == "rediss" else None},
    )


def _server(
    parts: SplitResult, options: Mapping[str, Any], common: dict[str, Any]
) -> RedisAddress:
    hosts = _hosts(parts, DEFAULT_PORT)
    if len(hosts) > 1:
        raise ValueError("has several hosts, but is neither +sentinel nor +cluster")
    database = parts.path.strip("/") or options.get("db", "")
    return RedisAddress(hosts=hosts, database=_database(database), **common)


def _unix(
    parts: SplitResult, credentials: Mapping[str, str], options: Mapping[str, Any]
) -> RedisAddress:
    host = parts.netloc.rpartition("@")[2]
    if host or not parts.path.strip("/"):
        raise ValueError("needs an absolute path after unix://")
    return RedisAddress(
        path=unquote(parts.path),
        database=_database(options.get("db", "")),
        credentials=credentials,
    )


def _sentinel(
    parts: SplitResult, options: Mapping[str, Any], common: dict[str, Any]
) -> RedisAddress:
    service, _, database = parts.path.removeprefix("/").partition("/")
    if not service:
        raise ValueError("needs the name of a service after its hosts")
    own = {name: options.get(f"sentinel_{name}") for name in ("username", "password")}
    return RedisAddress(
        topology=Topology.SENTINEL,
        hosts=_hosts(parts, DEFAULT_SENTINEL_PORT),
        service=unquote(service),
        database=_database(database or options.get("db", "")),
        sentinel_credentials={name: value for name, value in own.items() if value},
        **common,
    )


def _cluster(
    parts: SplitResult, options: Mapping[str, Any], common: dict[str, Any]
) -> RedisAddress:
    if _database(parts.path.strip("/") or options.get("db", "")):
        raise ValueError("names a database, but a Cluster has none but 0")
    return RedisAddress(
        topology=Topology.CLUSTER, hosts=_hosts(parts, DEFAULT_PORT), **common
    )


_FORMS: dict[
    str, Callable[[SplitResult, Mapping[str, Any], dict[str, Any]], RedisAddress]
] = {"": _server, "sentinel": _sentinel, "cluster": _cluster}


def _hosts(parts: SplitResult, default_port: int) -> tuple[tuple[str, int], ...]:
    return tuple(
        _host(part, default_port) for part in parts.netloc.rpartition("@")[2].split(",")
    )


def _host(text: str, default_port: int) -> tuple[str, int]:
    found = re.fullmatch(r"(\[[0-9A-Fa-f:.]+\]|[^\s:\[\]]+)(?::([0-9]{1,5}))?", text)
    if not found:
        raise ValueError("has a host that is missing or malformed")
    port = int(found[2] or default_port)
    if not 0 < port <= MAX_PORT:
        raise ValueError("has a port that there is not")
    return found[1].strip("[]"), port


def _credentials(parts: SplitResult) -> dict[str, str]:
    user, _, password = parts.netloc.rpartition("@")[0].partition(":")
    named = {"username": unquote(user), "password": unquote(password)}
    return {name: value for name, value in named.items() if value}


def _database(text: str) -> int:
    if not re.fullmatch(r"[0-9]{0,5}", text):
        raise ValueError("has a database that is no number")
    return int(text or 0)


def _yes_or_no(text: str) -> bool:
    if text.lower() not in {"true", "false"}:
        raise ValueError("has an option that is neither true nor false")
    return text.lower() == "true"


_OPTIONS: dict[str, Callable[[str], Any]] = {
    "db": str,
    "sentinel_password": str,
    "sentinel_username": str,
    "ssl_ca_certs": str,
    "ssl_cert_reqs": str,
    "ssl_certfile": str,
    "ssl_check_hostname": _yes_or_no,
    "ssl_keyfile": str,
}


def _options(parts: SplitResult) -> dict[str, Any]:
    given = parse_qsl(parts.query, keep_blank_values=True)
    if any(name not in _OPTIONS for name, _ in given):
        known = ", ".join(sorted(_OPTIONS))
        raise ValueError(f"has an option that is none of {known}")
    return {name: _OPTIONS[name](value) for name, value in given}
