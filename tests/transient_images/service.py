"""A service with transient images only, on a real socket."""

from __future__ import annotations

import io
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import aiohttp
from aiohttp import web

from app.access.assemble import AccessRules
from app.api.routes import ROUTES, definitions
from app.features import open_services, provide
from app.http.incoming_bodies import DEADLINE_SECONDS
from app.server.frame import install
from app.server.lifecycle import Lifecycle
from app.server.listener import bind, listening
from app.storage.redis.client.traffic import RedisConnections, open_redis
from app.telemetry import Metrics
from tests.fakes import a_world, scripted_models
from tests.in_memory import ports_in_memory, terms_in_memory
from tests.transient_images.stores import store_on

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

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
    max_image_bytes: int = 100_000,
    quota_bytes: int = 1_000_000,
    deadline_seconds: float = 15.0,
    store: TransientStore | None = None,
) -> AsyncIterator[Paintonce]:
    """Run the service on a free port, over *store* or else the Redis at *redis_url*."""
    app = web.Application()
    app.add_routes(
        definitions(route for route in ROUTES if route.path.startswith("/api/images"))
    )
    metrics, lifecycle, world = Metrics(), Lifecycle(), a_world()
    install(app, metrics=metrics, lifecycle=lifecycle)
    app[DEADLINE_SECONDS] = deadline_seconds
    terms = terms_in_memory(
        AccessRules(requires_keys=auth, admin_key=KEY, base_url=base_url),
        max_image_bytes=max_image_bytes,
        quota_bytes=quota_bytes,
        wait_timeout_seconds=1.0,
    )
    async with AsyncExitStack() as stack:
        redis = await stack.enter_async_context(open_redis(redis_url))
        ports = ports_in_memory(world, transient=store or store_on(redis))
        services = await stack.enter_async_context(
            open_services(
                ports, scripted_models(world, metrics), terms, metrics, lifecycle
            )
        )
        provide(app, services)
        listener = await stack.enter_async_context(listening(app, bind("127.0.0.1", 0)))
        client = await stack.enter_async_context(aiohttp.ClientSession())
        yield Paintonce(listener.port, client, redis)
