"""Replicas come back under other addresses, and nginx finds them."""

from __future__ import annotations

import asyncio
import itertools
import random
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import aiohttp
import pytest

from tests.deploy.door import Replica
from tests.deploy.name_server import NameServer, name_server
from tests.deploy.reverse_proxy import RESOLVES_SINCE, nginx, reverse_proxy
from tests.servers import free_port

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

_FOUND_WITHIN_SECONDS = 10.0
_LOAD = ("GET",) * 6 + ("POST", "DELETE")


@dataclass
class Street:
    """Two replicas that nginx knows by name, and an address for each to move to."""

    names: NameServer
    url: str
    client: aiohttp.ClientSession
    old: list[Replica]
    new: list[Replica]

    unsafe: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def ask(self, method: str) -> int:
        """Return the status that nginx answers with."""
        async with self.client.request(method, f"{self.url}/api/images") as answer:
            await answer.read()
            return answer.status

    async def load(self, method: str, done: asyncio.Event) -> list[int]:
        """Ask again and again until *done*, and return what came of it."""
        statuses = []
        while not done.is_set():
            async with nullcontext() if method == "GET" else self.unsafe:
                statuses.append(await self.ask(method))
        return statuses

    async def move(self, number: int) -> None:
        """Replace a replica as its container would be; return once it is found.

        A name whose container is stopped is unknown meanwhile.
        """
        old, new = self.old[number], self.new[number]
        name = f"paintonce-{number + 1}"
        del self.names.addresses[name]
        # A POST that has reached a replica is not sent again if that one is cut off.
        async with self.unsafe:
            await old.stop()
        await new.start()
        self.names.addresses[name] = new.host
        # Both upstreams, that of GET and that of everything else, look for themselves.
        async with asyncio.timeout(_FOUND_WITHIN_SECONDS):
            while len({target.startswith("GET") for target in new.targets}) < 2:
                new.was_asked.clear()
                await new.was_asked.wait()


@asynccontextmanager
async def _street() -> AsyncIterator[Street]:
    """Open it where nobody else listens, and wait until nginx knows the way."""
    net = f"127.{random.randint(1, 254)}.{random.randint(0, 254)}"
    port = free_port()
    replicas = [Replica(net, f"{net}.{number}", port) for number in range(1, 5)]
    old, new = replicas[:2], replicas[2:]
    try:
        for replica in old:
            await replica.start()
        known = {"paintonce-1": old[0].host, "paintonce-2": old[1].host}
        async with (
            name_server(known) as (names, where),
            reverse_proxy(
                *(f"{name}:{port}" for name in known), name_server=where
            ) as proxy,
            aiohttp.ClientSession() as client,
        ):
            street = Street(names, proxy.url, client, old, new)
            async with asyncio.timeout(_FOUND_WITHIN_SECONDS):
                while not all(replica.was_asked.is_set() for replica in old):
                    await street.ask("GET")
            yield street
    finally:
        for replica in replicas:
            await replica.stop()


async def test_replicas_may_come_back_under_other_addresses() -> None:
    """Both are replaced one after the other under load, and no request is lost."""
    if not nginx().looks_up_again:
        pytest.skip(f"nginx is older than {'.'.join(map(str, RESOLVES_SINCE))}")
    async with _street() as street:
        done = asyncio.Event()

        callers = [asyncio.create_task(street.load(method, done)) for method in _LOAD]
        await street.move(0)
        await street.move(1)
        done.set()
        statuses = list(itertools.chain(*await asyncio.gather(*callers)))

    assert set(statuses) == {200}
    assert len(statuses) > 100
