"""Redis with high availability: a Cluster, and a primary under Sentinel."""

from __future__ import annotations

import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from redis import Redis
from redis.crc import REDIS_CLUSTER_HASH_SLOTS, key_slot
from redis.exceptions import RedisError

from tests.servers import (
    ChildProcess,
    RedisServer,
    free_port,
    redis_command,
    redis_server,
)
from tests.servers.child_process import on_a_port

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

SERVICE = "paintonce"
# As short as it can be without a busy machine's pauses reading as a death.
DOWN_AFTER_MS = 1000
_SETTLES_WITHIN_SECONDS = 60.0
_LOOK_EVERY_SECONDS = 0.05


@dataclass(frozen=True)
class RedisCluster:
    """Primaries without replicas, each with an equal share of the slots."""

    primaries: tuple[RedisServer, ...]

    @property
    def url(self) -> str:
        """The address of all primaries in the form of `REDIS_URL`."""
        return f"redis+cluster://{_joined(server.port for server in self.primaries)}"

    def owner(self, key: str) -> RedisServer:
        """Return the primary that has the slot of *key*."""
        return self.primaries[
            key_slot(key.encode()) * len(self.primaries) // REDIS_CLUSTER_HASH_SLOTS
        ]


@dataclass(frozen=True)
class WatchedRedis:
    """A primary, its replica, and three sentinels with a quorum of two."""

    primary: RedisServer
    replica: RedisServer
    sentinel_ports: tuple[int, ...]

    @property
    def url(self) -> str:
        """The address of the sentinels in the form of `REDIS_URL`."""
        return f"redis+sentinel://{_joined(self.sentinel_ports)}/{SERVICE}/0"

    def demote_first(self) -> None:
        """Make the first primary follow the second, as a sentinel does later."""
        _ask(self.primary, "REPLICAOF", "127.0.0.1", self.replica.port)


@contextmanager
def redis_cluster(directory: Path, *, primaries: int = 3) -> Iterator[RedisCluster]:
    """Run a Cluster that serves covered slots while a primary is unavailable."""
    with ExitStack() as stack:
        buses = [free_port() for _ in range(primaries)]
        servers = [
            stack.enter_context(
                redis_server(
                    directory / f"node-{n}",
                    args=[
                        *("--cluster-enabled", "yes", "--cluster-port", str(bus)),
                        *("--cluster-node-timeout", str(DOWN_AFTER_MS)),
                        *("--cluster-require-full-coverage", "no"),
                    ],
                )
            )
            for n, bus in enumerate(buses)
        ]
        cluster = RedisCluster(tuple(servers))
        _share_slots(cluster)
        for bus, server in zip(buses, servers, strict=True):
            _ask(servers[0], "CLUSTER MEET", "127.0.0.1", server.port, bus)
        for server in servers:
            _until(partial(_sees_all, server, primaries))
        yield cluster


def _share_slots(cluster: RedisCluster) -> None:
    """Give each primary its share of the slots, and an epoch of its own."""
    owned: list[list[int]] = [[] for _ in cluster.primaries]
    count = len(cluster.primaries)
    for slot in range(REDIS_CLUSTER_HASH_SLOTS):
        owned[slot * count // REDIS_CLUSTER_HASH_SLOTS].append(slot)
    for epoch, (server, slots) in enumerate(
        zip(cluster.primaries, owned, strict=True), start=1
    ):
        _ask(server, "CLUSTER ADDSLOTSRANGE", slots[0], slots[-1])
        _ask(server, "CLUSTER SET-CONFIG-EPOCH", epoch)


def _sees_all(server: RedisServer, count: int) -> bool:
    """Return whether a node knows all others and a complete Cluster."""
    info = _ask(server, "CLUSTER INFO")
    return bool(
        info["cluster_state"] == "ok"
        and int(info["cluster_known_nodes"]) == count
        and int(info["cluster_slots_ok"]) == REDIS_CLUSTER_HASH_SLOTS
    )


@contextmanager
def watched_redis(directory: Path) -> Iterator[WatchedRedis]:
    """Run a primary and its replica, and the sentinels that watch them."""
    with ExitStack() as stack:
        primary = stack.enter_context(
            redis_server(
                directory / "primary", args=["--repl-diskless-sync-delay", "0"]
            )
        )
        replica = stack.enter_context(
            redis_server(
                directory / "replica",
                args=["--replicaof", "127.0.0.1", str(primary.port)],
            )
        )
        _until(
            lambda: _ask(replica, "INFO", "replication")["master_link_status"] == "up"
        )
        ports = tuple(
            stack.enter_context(_sentinel(directory / f"sentinel-{n}", primary.port))
            for n in range(3)
        )
        for port in ports:
            _until(partial(_is_informed, port))
        yield WatchedRedis(primary, replica, ports)


@contextmanager
def _sentinel(directory: Path, primary_port: int) -> Iterator[int]:
    """Run a sentinel; yields its port."""
    directory.mkdir(parents=True)

    def run(port: int) -> tuple[int, ChildProcess]:
        configuration = directory / "sentinel.conf"
        configuration.write_text(
            f"port {port}\nbind 127.0.0.1\ndir {directory}\n"
            f"sentinel monitor {SERVICE} 127.0.0.1 {primary_port} 2\n"
            f"sentinel down-after-milliseconds {SERVICE} {DOWN_AFTER_MS}\n"
            f"sentinel failover-timeout {SERVICE} 10000\n"
        )
        process = ChildProcess(
            [redis_command(), str(configuration), "--sentinel"],
            log=directory / "sentinel.log",
        )
        process.wait_until(partial(_answers, port))
        return port, process

    port, process = on_a_port(run, None)
    try:
        yield port
    finally:
        process.stop()


def _answers(port: int) -> bool:
    """Return whether a server answers."""
    try:
        with Redis(port=port, protocol=2) as client:
            return bool(client.ping())
    except (RedisError, OSError):
        return False


def _is_informed(port: int) -> bool:
    """Return whether a sentinel knows the replica and both other sentinels."""
    with Redis(port=port, protocol=2) as client:
        state: dict[str, Any] = client.sentinel_master(SERVICE)
    return (state["num-slaves"], state["num-other-sentinels"]) == (1, 2)


def _ask(server: RedisServer, *command: str | int) -> Any:
    """Send one command."""
    with Redis(port=server.port, protocol=2) as client:
        return client.execute_command(*command)


def _until(holds: Callable[[], bool]) -> None:
    """Wait until *holds* is true."""
    give_up_at = time.monotonic() + _SETTLES_WITHIN_SECONDS
    while not holds():
        assert time.monotonic() < give_up_at, "Redis does not settle"
        time.sleep(_LOOK_EVERY_SECONDS)


def _joined(ports: Iterator[int] | Sequence[int]) -> str:
    """Return hosts as a comma-separated list."""
    return ",".join(f"127.0.0.1:{port}" for port in ports)
