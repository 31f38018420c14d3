"""One replica for many tests, with its own Redis and bucket; prompts differ."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import uuid4

import pytest
import pytest_asyncio

from tests.models_of_replicas import replica_with
from tests.server.frame import wire

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.replica import Replica
    from tests.server.frame import Wire
    from tests.servers import S3Server

MODELS = """
[models.default]
provider = "placeholder"
price = 0.25
[models.jpeg]
provider = "placeholder"
[models.jpeg.options]
format = "jpeg"
[models.refuses]
provider = "placeholder"
[models.refuses.options]
failure = "rejected"
[models.fails]
provider = "placeholder"
[models.fails.options]
failure = "failed"
[models.limited]
provider = "placeholder"
[models.limited.options]
failure = "rate_limited"
[models.broken]
provider = "placeholder"
[models.broken.options]
failure = "broken_image"
[models.never]
provider = "placeholder"
deadline_seconds = 0.3
[models.never.options]
failure = "timeout"
[models.narrow]
provider = "placeholder"
concurrency = 1
queue = 0
[models.narrow.options]
delay_seconds = 1.5
[models.slow]
provider = "placeholder"
[models.slow.options]
delay_seconds = 1.0
[models.saved]
provider = "placeholder"
fallbacks = ["jpeg"]
[models.saved.options]
failure = "failed"
"""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def service(
    module_redis_url: str,
    s3_server: S3Server,
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[Replica]:
    """Run a replica without keys that has a model for every outcome."""
    async with replica_with(
        MODELS,
        folder=tmp_path_factory.mktemp("replica"),
        redis_url=module_redis_url,
        store=s3_server,
        WAIT_TIMEOUT_SECONDS="20",
    ) as running:
        yield running


@pytest_asyncio.fixture(loop_scope="module")
async def line(service: Replica) -> AsyncIterator[Wire]:
    """Open a raw connection to the service."""
    async with wire(service.port) as opened:
        yield opened


@pytest.fixture
def project() -> str:
    """Give the name of an unused project."""
    return f"acme/{uuid4().hex[:12]}"
