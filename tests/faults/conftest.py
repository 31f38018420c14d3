"""The installation that most rows break."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.faults.installation import installation

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.faults.place import Place
    from tests.servers import S3Server


@pytest.fixture
async def place(tmp_path: Path, s3_server: S3Server) -> AsyncIterator[Place]:
    """Run two replicas over a Redis of their own."""
    async with installation(tmp_path, s3_server) as started:
        yield started
