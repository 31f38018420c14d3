"""An installation to break: replicas, Redis, an object store and a provider.

All of them are processes. `TcpProxy`, `LossyWire` and `StoreGate`, which fail on order
between them, are in-process.
"""

from __future__ import annotations

from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import aiohttp
from aiobotocore.config import AioConfig
from aiobotocore.session import get_session
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from tests.faults.clients import Clients, watching
from tests.faults.place import Place
from tests.faults.provider import provider_process
from tests.faults.store_gate import store_gate
from tests.replica import environment_of
from tests.servers import redis_server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.faults.store_gate import StoreGate
    from tests.servers import RedisServer, S3Server

LEASE_SECONDS = 1.0

PRICE = 0.04
MODELS = """\
[models.default]
provider = "openai"
model = "fake"
base_url = "{origin}/v1"
api_key_env = ""
price = 0.04
concurrency = 1000
queue = 1000
deadline_seconds = {deadline_seconds}
"""


@asynccontextmanager
async def installation(
    folder: Path,
    store: S3Server,
    *,
    replicas: int = 2,
    redis_url: str | None = None,
    redis: RedisServer | None = None,
    store_endpoint: str | None = None,
    deadline_seconds: float = 60.0,
    models: str = MODELS,
    **settings: str,
) -> AsyncIterator[Place]:
    """Run an installation as long as the context is open.

    *models* is its models file, with places for `origin` and `deadline_seconds`.
    Without *redis* it has one of its own. *redis_url* and *store_endpoint* are the
    addresses that the replicas use, if a proxy stands in between.
    """
    async with AsyncExitStack() as stack:
        sent: list[str] = []
        session = await stack.enter_async_context(_session(sent))
        provider = await stack.enter_async_context(provider_process(session))
        redis = redis or stack.enter_context(redis_server(folder / "redis"))
        models_file = folder / "models.toml"
        models_file.write_text(
            models.format(
                origin=provider.origin,
                deadline_seconds=deadline_seconds,
            )
        )
        object_store = store.environment()
        if store_endpoint is not None:
            object_store["AWS_ENDPOINT_URL_S3"] = store_endpoint
        bucket = f"pictures-{uuid4().hex}"
        environment = environment_of(
            redis_url=redis_url or redis.url,
            bucket=bucket,
            object_store=object_store,
            **{
                "PROVIDERS_FILE": str(models_file),
                "LEASE_SECONDS": str(LEASE_SECONDS),
                "WAIT_TIMEOUT_SECONDS": "20",
                "SHUTDOWN_GRACE_SECONDS": "2",
                **settings,
            },
        )
        place = Place(
            folder=folder,
            redis=redis,
            provider=provider,
            clients=Clients(session, sent),
            environment=environment,
            bucket=bucket,
            seen_redis=await stack.enter_async_context(_redis_client(redis)),
            seen_store=await stack.enter_async_context(_store_client(store)),
            _stack=await stack.enter_async_context(AsyncExitStack()),
        )
        await place.start(replicas)
        yield place


@asynccontextmanager
async def gated_installation(
    folder: Path, store: S3Server, **options: Any
) -> AsyncIterator[tuple[Place, StoreGate]]:
    """Run an installation that reaches the object store through a gate."""
    async with (
        store_gate(store.endpoint) as gate,
        installation(folder, store, store_endpoint=gate.endpoint, **options) as place,
    ):
        yield place, gate


def _session(sent: list[str]) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        trace_configs=[watching(sent)],
        connector=aiohttp.TCPConnector(limit=0, force_close=True),
        timeout=aiohttp.ClientTimeout(total=45),
    )


def _redis_client(redis: RedisServer) -> Redis:
    # Faults cut its connections, too.
    return Redis.from_url(redis.url, retry=Retry(NoBackoff(), 3))


def _store_client(store: S3Server) -> Any:
    return get_session().create_client(
        "s3",
        region_name="us-east-1",
        endpoint_url=store.endpoint,
        aws_access_key_id=store.access_key,
        aws_secret_access_key=store.secret_key,
        config=AioConfig(signature_version="s3v4", s3={"addressing_style": "path"}),
    )
