"""One world for each test, with as many replicas as it asks for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.fakes import a_prompt_cache, a_world

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.fakes import Replica, World


@pytest.fixture
def world() -> World:
    """Give an empty world."""
    return a_world()


@pytest.fixture
async def replica(world: World) -> AsyncIterator[Replica]:
    """Give the replica that most tests need."""
    made = a_prompt_cache(world)
    yield made
    await made.give_up()


@pytest.fixture
async def another(world: World) -> AsyncIterator[Replica]:
    """Give a second replica over the same Redis, store and provider."""
    made = a_prompt_cache(world)
    yield made
    await made.give_up()
