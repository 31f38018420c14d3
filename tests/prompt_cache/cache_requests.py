"""Requests that the tests of this folder make of a replica's prompt cache."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from app.errors import CacheUnavailable, StillGenerating
from app.prompt_cache.entry.prompt_key import Parameters, PromptKey
from tests.fakes import LIGHTHOUSE, SHOP, UNLIMITED_PERMIT

if TYPE_CHECKING:
    from app.prompt_cache.cache import Answer
    from app.prompt_cache.seen_entry import SeenEntry
    from tests.fakes import Gate, Replica, World

FOX = PromptKey(SHOP, Parameters("a red fox"))


async def ask(replica: Replica, key: PromptKey = LIGHTHOUSE, **more: Any) -> Answer:
    """Request a prompt and wait for it."""
    return await replica.cache.get_or_generate(
        key, permit=UNLIMITED_PERMIT, **{"wait_seconds": 30, **more}
    )


def asking(replica: Replica, key: PromptKey = LIGHTHOUSE) -> asyncio.Task[Answer]:
    """Request a prompt in the background."""
    return asyncio.create_task(ask(replica, key))


async def promised(replica: Replica) -> str:
    """Request the lighthouse without waiting; return the generation's id."""
    with pytest.raises(StillGenerating) as still:
        await ask(replica, wait_seconds=0, wants_id=True)
    assert still.value.generation_id is not None
    return still.value.generation_id


async def refresh(replica: Replica) -> SeenEntry:
    """Refresh the lighthouse and wait for it."""
    return await replica.entries.refresh(
        SHOP, LIGHTHOUSE.hash, permit=UNLIMITED_PERMIT, wait_seconds=30
    )


async def refresh_that_loses_redis(world: World, replica: Replica, at: Gate) -> None:
    """Take Redis away where a refresh passes a gate; bring it back when it failed."""
    refreshing = asyncio.create_task(refresh(replica))
    await at.reached()
    world.index.is_away = True
    at.open()
    with pytest.raises(CacheUnavailable):
        await refreshing
    world.index.is_away = False
