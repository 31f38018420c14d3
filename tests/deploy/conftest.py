"""Fixtures of the nginx tests."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.deploy.door import open_door

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.deploy.door import Door


@pytest.fixture
async def door() -> AsyncIterator[Door]:
    """Start two replicas that answer with their names, and nginx in front."""
    async with open_door() as door:
        yield door
