"""A rolling restart of two replicas behind a real nginx."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import aiohttp
import pytest

from app.urls import LIVE
from tests.deploy.reverse_proxy import reverse_proxy
from tests.replica import environment_of, replica
from tests.servers import free_port

if TYPE_CHECKING:
    from pathlib import Path

    from tests.replica import Replica
    from tests.servers import S3Server

GRACE_SECONDS = 8
# A quarter of the grace, and what a process takes to end.
ENDS_WITHIN_SECONDS = GRACE_SECONDS / 4 + 1.5
SLOWEST_SECONDS = 1.0
CLIENTS = 8


class Asking:
    """Clients that send requests without pause over kept connections."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.statuses: set[int] = set()
        self.seconds: list[float] = []
        self._is_over = False

    async def ask(self) -> None:
        """Send one request after the other until the end."""
        loop = asyncio.get_running_loop()
        async with aiohttp.ClientSession() as session:
            while not self._is_over:
                began = loop.time()
                async with session.get(self.url) as answer:
                    await answer.read()
                self.statuses.add(answer.status)
                self.seconds.append(loop.time() - began)
                await asyncio.sleep(0.02)

    def end(self) -> None:
        """Wait until each client has finished its request."""
        self._is_over = True


@pytest.mark.long
async def test_a_rolling_restart_is_not_noticed(
    redis_url: str, s3_server: S3Server, bucket: str, tmp_path: Path
) -> None:
    """A rolling restart loses no HIT, delays none by a second, and ends in time."""
    loop = asyncio.get_running_loop()
    ports = free_port(), free_port()
    environments = [
        environment_of(
            redis_url=redis_url,
            bucket=bucket,
            object_store=s3_server.environment(),
            PORT=str(port),
            SHUTDOWN_GRACE_SECONDS=str(GRACE_SECONDS),
        )
        for port in ports
    ]
    async with (
        AsyncExitStack() as stack,
        reverse_proxy(*ports) as nginx,
    ):

        async def start(number: int) -> Replica:
            return await stack.enter_async_context(
                replica(environments[number], folder=tmp_path)
            )

        running = [await start(0), await start(1)]
        asking = Asking(f"{nginx.url}{LIVE}?prompt=a+lighthouse")
        async with aiohttp.ClientSession() as session:
            # So many at once that nginx keeps connections that are idle afterwards.
            await asyncio.gather(*(session.get(asking.url) for _ in range(40)))
            async with asyncio.TaskGroup() as tasks:
                for _ in range(CLIENTS):
                    tasks.create_task(asking.ask())
                for number in range(2):
                    began = loop.time()
                    assert await running[number].stop() == 0
                    assert loop.time() - began < ENDS_WITHIN_SECONDS
                    assert not running[number].events("work given up")
                    running[number] = await start(number)
                asking.end()

    assert asking.statuses == {200}
    assert len(asking.seconds) > 100
    assert max(asking.seconds) < SLOWEST_SECONDS
