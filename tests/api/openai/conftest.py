"""The replica of the tests of OpenAI's API."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.access.service import running

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.access.service import Paintonce


@pytest.fixture
async def service() -> AsyncIterator[Paintonce]:
    """Run one replica that asks for no keys."""
    async with running(requires_keys=False) as opened:
        yield opened
