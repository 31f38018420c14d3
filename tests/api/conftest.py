"""The replica of tests that need no other."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.access.service import running

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.access.service import Paintonce


@pytest.fixture
async def service() -> AsyncIterator[Paintonce]:
    """Run one replica that asks for keys."""
    async with running() as opened:
        yield opened
