"""A replica that asks for keys, and a shell with its settings, as an operator has."""

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
    """Give the way to a running service, and to a shell beside it."""

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
    """Give a key to the signing secrets."""
    return secrets.token_urlsafe(32)
