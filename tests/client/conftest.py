"""One replica for the tests of the client and of the pages about it."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import uuid4

import pytest
import pytest_asyncio

from app.client import Paintonce
from tests.models_of_replicas import replica_with

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.replica import Replica
    from tests.servers import S3Server

MODELS = """
[models.default]
provider = "placeholder"
price = 0.1
[models.dear]
provider = "placeholder"
price = 2.5
[models.refuses]
provider = "placeholder"
[models.refuses.options]
failure = "rejected"
[models.slow]
provider = "placeholder"
[models.slow.options]
delay_seconds = 1.0
[models.slower]
provider = "placeholder"
[models.slower.options]
delay_seconds = 30.0
"""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def service(
    module_redis_url: str,
    s3_server: S3Server,
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[Replica]:
    """Run a replica without keys, whose pictures have prices."""
    async with replica_with(
        MODELS,
        folder=tmp_path_factory.mktemp("replica"),
        redis_url=module_redis_url,
        store=s3_server,
        SHUTDOWN_GRACE_SECONDS="1",
    ) as running:
        yield running


@pytest.fixture
def project() -> str:
    """Give the name of an unused project."""
    return f"acme/{uuid4().hex[:12]}"


@pytest_asyncio.fixture(loop_scope="module")
async def paintonce(service: Replica, project: str) -> AsyncIterator[Paintonce]:
    """Open a client of a project of its own."""
    async with Paintonce(service.url, project=project) as client:
        yield client
