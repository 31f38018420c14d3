"""Replicas whose models a test writes."""

from __future__ import annotations

from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING
from uuid import uuid4

from tests.fake_provider import serve
from tests.replica import environment_of, replica

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.fake_provider import FakeProvider
    from tests.replica import Replica
    from tests.servers import S3Server

OPENAI = """
[models.default]
provider = "openai"
model = "gpt-image-2"
base_url = "{origin}/v1"
api_key_env = ""
"""


def models_file(folder: Path, models: str) -> str:
    """Write *models* into *folder*; return the file's path for `PROVIDERS_FILE`."""
    file = folder / "models.toml"
    file.write_text(models)
    return str(file)


def environment_with(
    models: str, *, folder: Path, redis_url: str, store: S3Server, **settings: str
) -> dict[str, str]:
    """Return the environment of a replica with *models* and a bucket of its own."""
    return environment_of(
        redis_url=redis_url,
        bucket=f"pictures-{uuid4().hex}",
        object_store=store.environment(),
        PROVIDERS_FILE=models_file(folder, models),
        **settings,
    )


@asynccontextmanager
async def replica_with(
    models: str, *, folder: Path, redis_url: str, store: S3Server, **settings: str
) -> AsyncIterator[Replica]:
    """Run a replica with *models* and a bucket of its own."""
    environment = environment_with(
        models, folder=folder, redis_url=redis_url, store=store, **settings
    )
    async with replica(environment, folder=folder) as running:
        yield running


@asynccontextmanager
async def replicas_over(
    provider: FakeProvider,
    count: int,
    *,
    folder: Path,
    redis_url: str,
    store: S3Server,
    terms: str = "",
    **settings: str,
) -> AsyncIterator[list[Replica]]:
    """Run *count* replicas whose only model is *provider*, in OpenAI's dialect.

    *terms* are further lines of the model.
    """
    async with AsyncExitStack() as stack:
        origin = await stack.enter_async_context(serve(provider))
        environment = environment_with(
            OPENAI.format(origin=origin) + terms,
            folder=folder,
            redis_url=redis_url,
            store=store,
            **settings,
        )
        yield [
            await stack.enter_async_context(replica(environment, folder=folder))
            for _ in range(count)
        ]
