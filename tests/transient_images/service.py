"""A Paintonce that knows nothing but transient images, on a real socket."""

from __future__ import annotations

import io
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import aiohttp
from aiohttp import web

from app.access.assemble import AccessRules, open_access
from app.api.routes import ROUTES, definitions
from app.api.services import SERVICES, Services
from app.api.uploads import DEADLINE_SECONDS
from app.server.frame import install
from app.server.lifecycle import LIFECYCLE, Lifecycle
from app.server.listener import bind, listening
from app.spending.assemble import SpendingRules, open_spending
from app.storage.documents import StoredDocuments
from app.storage.redis.client.connection import RedisConnections, open_redis
from app.telemetry import Metrics
from app.transient_images import Limits, assemble
from tests.access.fakes import InMemoryAccounts, InMemoryRates
from tests.fakes import InMemoryObjectStore
from tests.transient_images.stores import store_on

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

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
        """Its base URL."""
        return f"http://127.0.0.1:{self.port}"

    async def upload(self, data: bytes, query: str = "", **headers: str) -> Any:
        """Upload a picture for the shop; return the answer's document."""
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
    max_image_bytes: int = 100_000,
    quota_bytes: int = 1_000_000,
    deadline_seconds: float = 15.0,
) -> AsyncIterator[Paintonce]:
    """Run the service on a free port."""
    app = web.Application()
    app.add_routes(
        definitions(route for route in ROUTES if route.path.startswith("/api/images"))
    )
    install(app, metrics=Metrics(), lifecycle=Lifecycle())
    app[DEADLINE_SECONDS] = deadline_seconds
    rules = AccessRules(requires_keys=auth, admin_key=KEY)
    documents, rates = StoredDocuments(InMemoryObjectStore()), InMemoryRates()
    async with (
        open_redis(redis_url) as redis,
        open_access(documents, rates, rules) as access,
        open_spending(
            documents, InMemoryAccounts(), rates, SpendingRules()
        ) as spending,
    ):
        transient = assemble(
            store_on(redis),
            Limits(
                base_url=base_url,
                max_image_bytes=max_image_bytes,
                quota_bytes=quota_bytes,
            ),
        )
        unused = cast("Any", None)
        app[SERVICES] = Services(
            access=access,
            spending=spending,
            base_url=base_url,
            models=unused,
            query_cache=unused,
            prompts=unused,
            transient_images=transient,
            lifecycle=app[LIFECYCLE],
            wait_timeout_seconds=1.0,
        )
        async with (
            listening(app, bind("127.0.0.1", 0)) as listener,
            aiohttp.ClientSession() as client,
        ):
            yield Paintonce(listener.port, client, redis)
