"""nginx finds replicas that come back under other addresses."""

from __future__ import annotations

import asyncio
import itertools
import socket
from contextlib import AsyncExitStack, asynccontextmanager, nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import aiohttp
import pytest

from tests.deploy.door import Replica, addresses
from tests.deploy.name_server import NameServer, name_server
from tests.deploy.reverse_proxy import RESOLVES_SINCE, nginx, reverse_proxy
from tests.servers import free_port

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

_FOUND_WITHIN_SECONDS = 15.0
# What docs/how-to/compose.md asks for between two replicas, at the least: each of
# nginx's workers keeps what it looked up for a second, and counts in whole ones.
_PAUSE_SECONDS = 2.5
_LOAD = ("GET",) * 6 + ("POST", "DELETE")
_NAMES = ("paintonce-1", "paintonce-2")
_EVERY = "paintonce"


@dataclass
class Street:
    """Two replicas that nginx knows by name, with a second address for each."""

    names: NameServer
    url: str
    client: aiohttp.ClientSession
    old: list[Replica]
    new: list[Replica]
    unsafe: asyncio.Lock = field(default_factory=asyncio.Lock)
    holes: list[socket.socket] = field(default_factory=list)

    async def ask(self, method: str) -> int:
        """Return the status of a request through nginx."""
        async with self.client.request(method, f"{self.url}/api/images") as answer:
            await answer.read()
            return answer.status

    async def load(self, method: str, done: asyncio.Event) -> list[int]:
        """Send requests until *done*; return their statuses."""
        statuses = []
        while not done.is_set():
            async with nullcontext() if method == "GET" else self.unsafe:
                statuses.append(await self.ask(method))
            # Below what nginx lets one address ask.
            await asyncio.sleep(0.005)
        return statuses

    async def end(self, number: int, *, silent: bool) -> None:
        """Stop a replica as a container is stopped, so that its name is unknown.

        Connections to its old address are refused, or dropped if *silent*.
        """
        old = self.old[number]
        del self.names.addresses[_NAMES[number]]
        self.names.addresses[_EVERY].remove(old.host)
        # A POST that has reached a replica is not sent again if that one is cut off.
        async with self.unsafe:
            await old.stop()
            if silent:
                self.holes += _black_hole(old.host, old.port)

    def close_holes(self) -> None:
        """Free the old addresses."""
        for hole in self.holes:
            hole.close()

    async def start(self, number: int) -> None:
        """Start a replica at its other address."""
        new = self.new[number]
        await new.start()
        self.names.addresses[_NAMES[number]] = [new.host]
        self.names.addresses[_EVERY].append(new.host)

    async def until_found(self, number: int) -> None:
        """Return once the replica gets a GET and a POST through nginx."""
        new = self.new[number]
        async with asyncio.timeout(_FOUND_WITHIN_SECONDS):
            while len({target.startswith("GET") for target in new.targets}) < 2:
                new.was_asked.clear()
                await new.was_asked.wait()


def _black_hole(host: str, port: int) -> list[socket.socket]:
    """Make connections to an address hang, as if no machine had it.

    Linux drops connections that do not fit into a full backlog.
    """
    listener = socket.create_server((host, port), backlog=0)
    callers = [socket.socket() for _ in range(4)]
    for caller in callers:
        caller.settimeout(0)
        caller.connect_ex((host, port))
    return [listener, *callers]


@asynccontextmanager
async def _street() -> AsyncIterator[Street]:
    """Start the replicas and nginx; return when nginx reaches both."""
    if not nginx().looks_up_again:
        pytest.skip(f"nginx is older than {'.'.join(map(str, RESOLVES_SINCE))}")
    port = free_port()
    replicas = [Replica(host, host, port) for host in addresses(4)]
    old, new = replicas[:2], replicas[2:]
    known = {name: [one.host] for name, one in zip(_NAMES, old, strict=True)}
    known[_EVERY] = [one.host for one in old]
    async with AsyncExitStack() as stack:
        for replica in replicas:
            stack.push_async_callback(replica.stop)
        for replica in old:
            await replica.start()
        names, where = await stack.enter_async_context(name_server(known))
        proxy = await stack.enter_async_context(
            reverse_proxy(
                *(f"{name}:{port}" for name in _NAMES),
                every=f"{_EVERY}:{port}",
                name_server=where,
            )
        )
        client = await stack.enter_async_context(aiohttp.ClientSession())
        street = Street(names, proxy.url, client, old, new)
        stack.callback(street.close_holes)
        async with asyncio.timeout(_FOUND_WITHIN_SECONDS):
            while not all(replica.was_asked.is_set() for replica in old):
                await street.ask("GET")
        yield street


@pytest.mark.parametrize("silent", [False, True], ids=["refuse", "swallow"])
async def test_replicas_may_come_back_under_other_addresses(
    silent: bool,  # noqa: FBT001 - pytest passes parameters by name
) -> None:
    """Replacing both replicas one by one under load loses no request.

    This includes requests that wait for the old address while nginx resolves the new
    one.
    """
    async with _street() as street:
        done = asyncio.Event()
        callers = [asyncio.create_task(street.load(method, done)) for method in _LOAD]

        for number in range(2):
            await street.end(number, silent=silent)
            await street.start(number)
            await street.until_found(number)
            await asyncio.sleep(_PAUSE_SECONDS)
        done.set()
        statuses = list(itertools.chain(*await asyncio.gather(*callers)))

    assert set(statuses) == {200}
    assert len(statuses) > 50


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_replicas_that_moved_at_once_are_found_too(method: str) -> None:
    """Nginx finds both replicas after they moved at the same time."""
    async with _street() as street:
        for number in range(2):
            await street.end(number, silent=False)
        for number in range(2):
            await street.start(number)

        async with asyncio.timeout(_FOUND_WITHIN_SECONDS):
            while await street.ask(method) != 200:
                pass
