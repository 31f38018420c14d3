"""The composition root: it knows every feature, and how each is closed.

`open_replica` makes the real ports and models; `open_services` builds the
features over any ports, which is how tests build them over memory.
"""

from __future__ import annotations

from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from aiohttp import web

from app import renditions, transient_images
from app.access.assemble import keys_over, open_access
from app.api.openai.front import OpenAIFront
from app.api.originals import Originals
from app.api.query_cache import QueryCache
from app.api.routes import ROUTES, definitions
from app.api.services import SERVICES, Services
from app.background import running
from app.generation.assemble import build_models
from app.generation.transport.outbound import open_outbound_session
from app.http.cors import Cors
from app.ports import open_ports
from app.prompt_cache import assemble as prompt_cache
from app.server.dependency_monitor import (
    DEPENDENCY_MONITOR,
    FENCE,
    DependencyMonitor,
)
from app.server.frame import TRACING, install
from app.server.lifecycle import Lifecycle
from app.spending.assemble import open_spending
from app.storage.documents import StoredDocuments
from app.storage.redis.proof import prove_at_the_start
from app.telemetry import Metrics
from app.telemetry.degradations import Degradations
from app.telemetry.tracing import Tracing, open_tracing, traced
from app.telemetry.watchdog import watch_the_loop
from app.terms import access_rules, terms_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
    from contextlib import AbstractAsyncContextManager

    from app.access.keys import Keys
    from app.configuration import Configuration
    from app.generation.models import Models
    from app.ports import Ports
    from app.storage.fence import Fence
    from app.storage.ledger_identity import LedgerIdentity
    from app.storage.redis.proof import RedisProof
    from app.terms import Terms

# The calls that a request may wait for, and that a trace shows.
STORE_CALLS = ("put", "create", "replace", "get", "open", "exists", "delete")
INDEX_CALLS = (
    *("look_up", "acquire", "hold", "renew", "commit", "fail", "release"),
    *("withdraw", "forget"),
)


# Calls to the store at once of keys, rules and the journal. They wait for none
# of paintings, pictures and visitors.
DOCUMENTS_AT_ONCE = 64


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


@asynccontextmanager
async def open_services(
    ports: Ports,
    models: Models,
    terms: Terms,
    metrics: Metrics,
    lifecycle: Lifecycle,
    *,
    tracing: Tracing | None = None,
) -> AsyncIterator[Services]:
    """Build the features in order of need, and close them in reverse."""
    documents = StoredDocuments(ports.store.on_a_line(DOCUMENTS_AT_ONCE))
    on_degraded = Degradations(metrics).note
    async with AsyncExitStack() as stack:
        access = await stack.enter_async_context(
            open_access(documents, ports.rates, terms.access, on_degraded=on_degraded)
        )
        spending = await stack.enter_async_context(
            open_spending(
                documents,
                ports.accounts,
                ports.rates,
                terms.spending,
                require_active=access.require_active,
                on_degraded=on_degraded,
            )
        )
        transient = await stack.enter_async_context(
            _open_transient_images(ports, terms.transient)
        )
        prompts = prompt_cache.assemble(
            prompt_cache.Ports(
                store=traced(tracing, ports.store, "object_store", STORE_CALLS),
                index=traced(tracing, ports.index, "prompt_index", INDEX_CALLS),
                completions=ports.completions,
                statistics=ports.statistics,
                generations=ports.generations,
                models=traced(tracing, models, "models", ("paint",)),
                references=transient.references.for_painting,
                paid_already=spending.permits.paid_already,
                metrics=metrics,
                painting_refusal=ports.fence.refusal,
            ),
            terms.prompts,
        )
        await stack.enter_async_context(prompts.running())
        lifecycle.on_finish(prompts.drain)
        lifecycle.on_give_up(prompts.give_up)
        drawn = renditions.assemble(
            renditions.Ports(
                store=traced(tracing, ports.store, "object_store", STORE_CALLS),
                index=traced(tracing, ports.index, "prompt_index", INDEX_CALLS),
                completions=ports.completions,
                memory=prompts.hot_tier,
                read_original=prompts.pictures.read_whole,
                systems=models.systems,
                metrics=metrics,
            ),
            terms.renditions,
        )
        await stack.enter_async_context(drawn.running())
        lifecycle.on_finish(drawn.workshop.drain)
        lifecycle.on_give_up(drawn.workshop.give_up)
        yield Services(
            access=access,
            spending=spending,
            base_url=terms.access.base_url,
            keyed_caching=terms.keyed_caching,
            models=models,
            openai=OpenAIFront(models.names),
            query_cache=QueryCache(models.names, terms.renditions.widths),
            prompts=prompts,
            renditions=drawn,
            originals=Originals(prompts.ledger, prompts.pictures),
            transient_images=transient,
            lifecycle=lifecycle,
            wait_timeout_seconds=terms.wait_timeout_seconds,
        )


@asynccontextmanager
async def _open_transient_images(
    ports: Ports, limits: transient_images.Limits
) -> AsyncIterator[transient_images.TransientParts]:
    parts = transient_images.assemble(ports.transient, limits, ports.store)
    warning = transient_images.warn_unless_bounded(ports.max_memory, limits.total_bytes)
    async with parts.running(), running(warning, name="memory-warning"):
        yield parts


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
            app[SERVICES] = opened.services
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
