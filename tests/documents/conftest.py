"""A replica that asks for keys, and a shell with an operator's settings."""

from __future__ import annotations

import secrets
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from tests.documents.shell import Shell
from tests.replica import environment_of, replica

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from tests.replica import Replica
    from tests.servers import S3Server


@pytest.fixture
def settings(redis_url: str, s3_server: S3Server, bucket: str) -> dict[str, str]:
    """Give the settings of a service that asks for keys."""
    return environment_of(
        redis_url=redis_url,
        bucket=bucket,
        object_store=s3_server.environment(),
        AUTH="required",
    )


@pytest.fixture
def operator(
    settings: dict[str, str], tmp_path: Path
) -> Callable[..., AbstractAsyncContextManager[tuple[Replica, Shell]]]:
    """Run a service that asks for keys, and open a shell beside it."""

    @asynccontextmanager
    async def operating(**more: str) -> AsyncIterator[tuple[Replica, Shell]]:
        everything = {**settings, **more}
        async with replica(everything, folder=tmp_path) as service:
            # The commands' own address is that of the service.
            with Shell(tmp_path, **everything, PUBLIC_BASE_URL=service.url) as shell:
                yield service, shell

    return operating


@pytest.fixture
def master_key() -> str:
    """Give a master key for the signing secrets."""
    return secrets.token_urlsafe(32)
