"""A service whose transient images are in a real Redis, and calls to it."""

from __future__ import annotations

import io
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from app.storage.redis.client.traffic import RedisConnections, open_redis
from tests.access import service
from tests.transient_images.stores import store_on

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import aiohttp

    from app.storage.ports.transient_store import TransientStore

KEY = "the-lighthouse-keeper-keeps-the-key"
SHOP = {"X-API-Key": KEY, "X-Project": "acme/shop"}
STUDIO = {"X-API-Key": KEY, "X-Project": "acme/studio"}


@dataclass(frozen=True)
class Paintonce:
    """The running service, a client of it, and its Redis."""

    port: int
    client: aiohttp.ClientSession
    redis: RedisConnections

    @property
    def url(self) -> str:
        """The base URL of the service."""
        return f"http://127.0.0.1:{self.port}"

    async def upload(self, data: bytes, query: str = "", **headers: str) -> Any:
        """Upload a picture for the shop; return its document."""
        sent = {**SHOP, "Content-Type": "image/png", **headers}
        address = f"{self.url}/api/images{query}"
        async with self.client.post(
            address, data=io.BytesIO(data), headers=sent
        ) as answer:
            assert answer.status == 201, await answer.text()
            return await answer.json()

    async def listing(self, **headers: str) -> Any:
        """Return the shop's list."""
        address = f"{self.url}/api/images"
        async with self.client.get(address, headers={**SHOP, **headers}) as answer:
            assert answer.status == 200
            return await answer.json()


@asynccontextmanager
async def running(
    redis_url: str,
    *,
    auth: bool = True,
    base_url: str = "https://paintonce.example",
    store: TransientStore | None = None,
    **options: Any,
) -> AsyncIterator[Paintonce]:
    """Run the service over *store*, or else the Redis at *redis_url*.

    *options* are those of `tests.access.service.running`.
    """
    async with (
        open_redis(redis_url) as redis,
        service.running(
            base_url=base_url,
            admin_key=KEY,
            requires_keys=auth,
            transient=store or store_on(redis),
            **options,
        ) as one,
    ):
        yield Paintonce(one.port, one.client, redis)
