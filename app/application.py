"""The composition root: a replica from its configuration, and how it is closed.

`ports` connects to Redis and the object store, `open_models` to the providers, and
`features` builds everything else over both.
"""

from __future__ import annotations

from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from aiohttp import web

from app.access.assemble import keys_over
from app.api.routes import ROUTES, definitions
from app.background import running
from app.features import open_services, provide
from app.generation.assemble import build_models
from app.generation.transport.outbound import open_outbound_session
from app.http.cors import Cors
from app.ports import open_ports
from app.server.dependency_monitor import (
    DEPENDENCY_MONITOR,
    FENCE,
    DependencyMonitor,
)
from app.server.frame import TRACING, install
from app.server.lifecycle import Lifecycle
from app.storage.documents import StoredDocuments
from app.storage.redis.proof import prove_at_the_start
from app.telemetry import Metrics
from app.telemetry.tracing import Tracing, open_tracing
from app.telemetry.watchdog import watch_the_loop
from app.terms import access_rules, terms_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
    from contextlib import AbstractAsyncContextManager

    from app.access.keys import Keys
    from app.api.services import Services
    from app.configuration import Configuration
    from app.generation.models import Models
    from app.storage.fence import Fence
    from app.storage.ledger_identity import LedgerIdentity
    from app.storage.redis.proof import RedisProof


@dataclass(frozen=True, slots=True)
class Opened:
    """The services of a replica, and what readiness asks."""

    services: Services
    dependencies: DependencyMonitor
    pings: Mapping[str, Callable[[], Awaitable[None]]]
    fence: Fence
    identity: LedgerIdentity
    tracing: Tracing | None = None
    prove_redis: Callable[[], Awaitable[RedisProof]] | None = None


@asynccontextmanager
async def open_replica(
    configuration: Configuration,
    metrics: Metrics,
    lifecycle: Lifecycle,
    *,
    serves: bool = True,
) -> AsyncIterator[Opened]:
    """Open the ports, the models and the services of *configuration*.

    A command that does not serve pings nothing and proves nothing by itself.
    """
    settings = configuration.settings
    async with (
        running(watch_the_loop(metrics), name="watchdog"),
        open_tracing(settings.tracing) as tracing,
        open_ports(configuration, metrics, makes=serves) as ports,
        open_models(configuration, metrics, lifecycle) as models,
        open_services(
            ports, models, terms_of(settings), metrics, lifecycle, tracing=tracing
        ) as services,
        AsyncExitStack() as stack,
    ):
        dependencies = DependencyMonitor(ports.pings, metrics=metrics)
        if serves:
            await stack.enter_async_context(ports.fence.proving())
            await stack.enter_async_context(dependencies)
            if ports.prove_redis is not None:
                proving = prove_at_the_start(ports.prove_redis)
                await stack.enter_async_context(running(proving, name="redis-proof"))
        yield Opened(
            services,
            dependencies,
            ports.pings,
            ports.fence,
            ports.identity,
            tracing,
            ports.prove_redis,
        )


@asynccontextmanager
async def open_models(
    configuration: Configuration, metrics: Metrics, lifecycle: Lifecycle
) -> AsyncIterator[Models]:
    """Build the models of the models file; they share one session."""
    settings = configuration.settings
    async with open_outbound_session() as session:
        models = build_models(
            configuration.models,
            session=session,
            max_image_bytes=settings.max_image_bytes,
            marks=settings.mark_ai_generated == "auto",
            keeps_metadata=settings.keep_metadata == "on",
            observer=metrics,
            generation_timeout_seconds=settings.generation_timeout_seconds,
        )
        lifecycle.on_drain(partial(models.drain, configuration.grace_seconds))
        try:
            yield models
        finally:
            await models.aclose()


def create_app(
    configuration: Configuration,
    *,
    open_replica: Callable[
        [Configuration, Metrics, Lifecycle], AbstractAsyncContextManager[Opened]
    ] = open_replica,
) -> web.Application:
    """Return the application; its services open when it starts."""
    lifecycle = Lifecycle()
    metrics = Metrics(
        routes=[(route.method, route.template) for route in ROUTES],
        models={alias: model.provider for alias, model in configuration.models.items()},
    )
    app = web.Application()
    cors = Cors(configuration.settings.allowed_origins)
    install(app, metrics=metrics, lifecycle=lifecycle, cors=cors)
    app.router.add_routes(definitions())

    async def services(app: web.Application) -> AsyncIterator[None]:
        async with open_replica(configuration, metrics, lifecycle) as opened:
            provide(app, opened.services)
            app[DEPENDENCY_MONITOR] = opened.dependencies
            app[FENCE] = opened.fence
            if opened.tracing is not None:
                app[TRACING] = opened.tracing
            yield

    app.cleanup_ctx.append(services)
    return app


@asynccontextmanager
async def open_keys(configuration: Configuration) -> AsyncIterator[Keys]:
    """Open the keys in the ledger, and nothing else.

    The first key is made before any replica has made the bucket.
    """
    async with open_ports(configuration, Metrics()) as ports:
        await ports.identity.check(needs_memory=False)
        rules = access_rules(configuration.settings)
        yield keys_over(StoredDocuments(ports.store), rules)
