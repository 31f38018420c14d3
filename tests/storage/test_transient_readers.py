"""Many readers of transient images, and other users of Redis."""

from __future__ import annotations

import asyncio
import statistics
from typing import TYPE_CHECKING

import pytest

from app.errors import CacheUnavailable
from app.storage.redis.client.traffic import open_redis
from app.storage.storage_key import Project
from app.transient_images import Limits, assemble
from tests.servers.tcp_proxy import TcpProxy
from tests.transient_images.stores import picture, store_on
from tests.until import until

if TYPE_CHECKING:
    from app.storage.redis.client.traffic import RedisConnections
    from app.transient_images import OpenImage

SHOP = Project("acme", "shop")
READERS = 400
PICTURE = picture(128 * 1024)
# All at once would take more than three seconds, and the last of them time out.
LINK_BYTES_A_SECOND = 16_000_000


def port_of(url: str) -> int:
    """Return the port of a Redis."""
    return int(url.rpartition(":")[2].partition("/")[0])


async def lent(redis: RedisConnections) -> OpenImage:
    """Upload a picture, and open it."""
    limits = Limits(
        base_url="https://paintonce.example",
        max_image_bytes=len(PICTURE),
        quota_bytes=len(PICTURE),
    )
    images = assemble(store_on(redis), limits).images
    found = await images.open((await images.keep(SHOP, PICTURE)).id)
    assert found is not None
    return found


async def test_readers_over_a_slow_link_stand_in_line(redis_url: str) -> None:
    """Hundreds of readers over a slow link get their picture and delay no look-up."""
    took: list[float] = []

    async def look_up() -> None:
        clock = asyncio.get_running_loop().time
        while True:
            began = clock()
            await redis.commands.execute("GET", "a prompt")
            took.append(clock() - began)
            await asyncio.sleep(0.01)

    async with (
        TcpProxy(port_of(redis_url)) as link,
        open_redis(f"redis://127.0.0.1:{link.port}") as redis,
    ):
        found = await lent(redis)

        async def read() -> bytes:
            return b"".join([chunk async for chunk in found.chunks()])

        link.narrow(LINK_BYTES_A_SECOND)
        async with asyncio.TaskGroup() as tasks:
            looking = tasks.create_task(look_up())
            read_by = await asyncio.gather(*(read() for _ in range(READERS)))
            looking.cancel()

        assert read_by == [PICTURE] * READERS
        assert not redis.breaker.is_open
        # One by itself may be late on a busy machine; in a line all would be.
        assert statistics.median(took) < 0.5


async def test_pictures_have_a_breaker_of_their_own(redis_url: str) -> None:
    """Reads of pictures have their own breaker, so look-ups go on."""
    changes: list[bool] = []
    async with (
        TcpProxy(port_of(redis_url)) as link,
        open_redis(
            f"redis://127.0.0.1:{link.port}", on_breaker=changes.append
        ) as redis,
    ):
        found = await lent(redis)
        await redis.commands.execute("GET", "a prompt")
        for _ in range(2):
            link.swallow_replies(1, then_cut=True)
            with pytest.raises(CacheUnavailable):
                await redis.slices.execute("GETRANGE", "a", 0, 1, retry=False)
        assert changes[:1] == [True]
        assert not redis.breaker.is_open
        await redis.commands.execute("GET", "a prompt")

        async def is_closed() -> bool:
            return not changes[-1]

        await until(is_closed)
        assert [chunk async for chunk in found.chunks()] == [PICTURE]
