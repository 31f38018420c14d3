"""The composition root: alone knows everyone, and how they are closed."""

from __future__ import annotations

from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from aiohttp import web

from app import transient_images
from app.access.assemble import AccessRules, keys_over, open_access
from app.access.projects import ProjectRules
from app.api.query_cache import QueryCache
from app.api.routes import ROUTES, definitions
from app.api.services import SERVICES, Services
from app.background import running
from app.environment import environment, export
from app.generation.assemble import build_models
from app.generation.config.models_file import (
    InvalidModelsFile,
    ModelConfig,
    load_models,
)
from app.generation.transport.outbound import open_outbound_session
from app.http.cors import Cors
from app.http.picture_headers import KEPT_BY_BROWSERS, KEPT_BY_KEYS
from app.prompt_cache.assemble import Limits, Ports, assemble
from app.server.dependency_monitor import DEPENDENCY_MONITOR, DependencyMonitor
from app.server.frame import TRACING, install
from app.server.lifecycle import Lifecycle
from app.settings import InvalidSettings, Settings, load_settings
from app.storage.documents import StoredDocuments
from app.storage.filesystem.store import FilesystemObjectStore
from app.storage.redis.allowances import RedisAllowances, RedisRates
from app.storage.redis.client.address import parse_address
from app.storage.redis.client.connection import open_redis
from app.storage.redis.completion_events import (
    open_completion_events,
)
from app.storage.redis.generations import RedisGenerations
from app.storage.redis.prompts import RedisPromptIndex
from app.storage.redis.statistics import RedisStatistics
from app.storage.redis.transient import RedisTransientStore
from app.storage.s3 import open_s3_object_store
from app.telemetry import Metrics
from app.telemetry.tracing import Tracing, open_tracing, traced
from app.telemetry.tracing import is_installed as tracing_is_installed
from app.telemetry.watchdog import watch_the_loop

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
    from contextlib import AbstractAsyncContextManager

    from pydantic import SecretStr

    from app.access.keys import Keys
    from app.storage.ports.object_store import ObjectStore


# What a request may wait for, and what a trace tells of.
STORE_CALLS = ("put", "create", "replace", "get", "open", "exists", "delete")
INDEX_CALLS = (
    *("look_up", "acquire", "hold", "renew", "commit", "fail", "release"),
    *("withdraw", "forget"),
)


@dataclass(frozen=True, slots=True)
class Configuration:
    """What an operator decided: settings and models.

    *image_folder* is set in embedded mode, where the object store is a folder.
    """

    settings: Settings
    models: Mapping[str, ModelConfig]
    image_folder: Path | None = None


def load_configuration(
    *, image_folder: Path | None = None, **overrides: object
) -> Configuration:
    """Read settings and models file; raises `InvalidSettings` with every problem."""
    # botocore reads its own settings by itself.
    export("AWS_")
    said = {**environment(), **{name.upper(): it for name, it in overrides.items()}}
    problems = _redis_problems(said.get("REDIS_URL"))
    if image_folder is None and not said.get("S3_BUCKET"):
        problems.append("S3_BUCKET: is needed; or try `python -m app dev`")
    settings: Settings | None = None
    models: Mapping[str, ModelConfig] = {}
    try:
        settings = load_settings(**overrides)
        if settings.tracing == "on" and not tracing_is_installed():
            problems.append("TRACING: needs the packages of the extra `tracing`")
    except InvalidSettings as error:
        problems += error.problems
    try:
        models = load_models(_providers_file(said), environment())
    except InvalidModelsFile as error:
        problems += error.problems
    if settings is None or problems:
        raise InvalidSettings(problems)
    return Configuration(settings, models, image_folder)


def _redis_problems(url: object) -> list[str]:
    if not url:
        return ["REDIS_URL: is needed; or try `python -m app dev`"]
    try:
        parse_address(str(url))
    except ValueError as error:
        return [f"REDIS_URL: {error}"]
    return []


def _providers_file(said: Mapping[str, object]) -> Path | None:
    name = said.get("PROVIDERS_FILE")
    return Path(str(name)) if name else None


_CACHING_OF_KEYS = {"public": KEPT_BY_KEYS, "private": KEPT_BY_BROWSERS}


@dataclass(frozen=True, slots=True)
class Opened:
    """What `open_services` yields: the services, and what readiness asks."""

    services: Services
    dependencies: DependencyMonitor
    pings: Mapping[str, Callable[[], Awaitable[None]]]
    tracing: Tracing | None = None


@asynccontextmanager
async def open_services(
    configuration: Configuration, metrics: Metrics, lifecycle: Lifecycle
) -> AsyncIterator[Opened]:
    """Build everything, in order of need, and close it in reverse."""
    settings = configuration.settings
    async with AsyncExitStack() as stack:
        watching = running(watch_the_loop(metrics), name="watchdog")
        await stack.enter_async_context(watching)

        tracing = await stack.enter_async_context(open_tracing(settings.tracing))

        # Who keeps.
        redis_url = settings.redis_url.get_secret_value() if settings.redis_url else ""
        redis = await stack.enter_async_context(
            open_redis(redis_url, on_breaker=metrics.breaker_open)
        )
        store = await stack.enter_async_context(_open_object_store(configuration))
        completions = await stack.enter_async_context(
            open_completion_events(redis.subscriber)
        )

        # Who asks.
        access = await stack.enter_async_context(
            open_access(
                StoredDocuments(store),
                RedisAllowances(redis.leases),
                RedisRates(redis.commands),
                access_rules(settings),
            )
        )

        # Who paints.
        session = await stack.enter_async_context(open_outbound_session())
        models = build_models(
            configuration.models,
            session=session,
            max_image_bytes=settings.max_image_bytes,
            marks=settings.mark_ai_generated == "auto",
            observer=metrics,
        )
        stack.push_async_callback(models.aclose)

        # A picture with an address.
        transient = transient_images.assemble(
            RedisTransientStore(
                commands=redis.commands, slices=redis.slices, blobs=redis.blobs
            ),
            _transient_limits(settings),
        )
        await stack.enter_async_context(transient.running())
        watching = running(
            transient_images.warn_unless_bounded(
                redis.max_memory, settings.transient_total_bytes or None
            ),
            name="memory-warning",
        )
        await stack.enter_async_context(watching)

        # What prompts became.
        index = RedisPromptIndex(commands=redis.commands, leases=redis.leases)
        prompts = assemble(
            Ports(
                store=traced(tracing, store, "object_store", STORE_CALLS),
                index=traced(tracing, index, "prompt_index", INDEX_CALLS),
                completions=completions,
                statistics=RedisStatistics(redis.commands),
                generations=RedisGenerations(redis.commands),
                models=traced(tracing, models, "models", ("paint",)),
                references=transient.references.for_painting,
                metrics=metrics,
            ),
            Limits(
                lease_for=timedelta(seconds=settings.lease_seconds),
                generation_timeout=timedelta(
                    seconds=settings.generation_timeout_seconds
                ),
                hot_tier_bytes=settings.hot_tier_bytes,
            ),
        )
        await stack.enter_async_context(prompts.running())
        lifecycle.on_finish(prompts.drain)
        lifecycle.on_give_up(prompts.give_up)
        pings = {"redis": redis.ping, "object_store": store.ping}
        dependencies = await stack.enter_async_context(
            DependencyMonitor(pings, metrics=metrics)
        )
        yield Opened(
            Services(
                access=access,
                base_url=settings.base_url,
                keyed_caching=_CACHING_OF_KEYS[settings.keyed_cache_control],
                models=models,
                query_cache=QueryCache(models),
                prompts=prompts,
                transient_images=transient,
                lifecycle=lifecycle,
                wait_timeout_seconds=settings.wait_timeout_seconds,
            ),
            dependencies,
            pings,
            tracing,
        )


def create_app(
    configuration: Configuration,
    *,
    open_services: Callable[
        [Configuration, Metrics, Lifecycle], AbstractAsyncContextManager[Opened]
    ] = open_services,
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
        async with open_services(configuration, metrics, lifecycle) as opened:
            app[SERVICES] = opened.services
            app[DEPENDENCY_MONITOR] = opened.dependencies
            if opened.tracing is not None:
                app[TRACING] = opened.tracing
            yield

    app.cleanup_ctx.append(services)
    return app


def _open_object_store(
    configuration: Configuration,
) -> AbstractAsyncContextManager[ObjectStore]:
    if configuration.image_folder is not None:
        return _open_folder(configuration.image_folder)
    bucket = configuration.settings.s3_bucket
    assert bucket is not None  # noqa: S101 - load_configuration saw to it
    return open_s3_object_store(bucket=bucket)


@asynccontextmanager
async def _open_folder(folder: Path) -> AsyncIterator[ObjectStore]:
    yield FilesystemObjectStore(folder)


def _transient_limits(settings: Settings) -> transient_images.Limits:
    ttl_seconds = settings.transient_ttl_seconds
    return transient_images.Limits(
        base_url=settings.base_url,
        max_image_bytes=settings.max_image_bytes,
        quota_bytes=settings.transient_quota_bytes,
        total_bytes=settings.transient_total_bytes or None,
        default_ttl=timedelta(seconds=ttl_seconds) if ttl_seconds else None,
        threshold_bytes=settings.image_url_threshold_bytes,
        lease_for=timedelta(seconds=settings.lease_seconds),
    )


@asynccontextmanager
async def open_keys(configuration: Configuration) -> AsyncIterator[Keys]:
    """Open the keys in the ledger, and nothing else.

    Whoever makes the first key does so before any replica has made the bucket.
    """
    async with _open_object_store(configuration) as store:
        await store.ping()
        yield keys_over(StoredDocuments(store), access_rules(configuration.settings))


def access_rules(settings: Settings) -> AccessRules:
    """Return what the operator decided about who may ask and spend."""
    return AccessRules(
        requires_keys=settings.auth == "required",
        base_url=settings.base_url,
        admin_key=_secret(settings.admin_api_key),
        master_key=_secret(settings.signing_master_key),
        trusted_proxies=settings.trusted_networks,
        defaults=ProjectRules(
            generation=settings.generation == "on",
            budget_per_day=settings.budget_per_day,
            rate_limit_per_minute=settings.rate_limit_per_minute,
        ),
        new_per_address_per_hour=settings.scope_new_per_address_per_hour,
        settle_within=timedelta(seconds=settings.generation_timeout_seconds + 60),
    )


def _secret(value: SecretStr | None) -> str | None:
    return None if value is None else value.get_secret_value()
