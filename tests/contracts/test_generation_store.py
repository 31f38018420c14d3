"""Where the records of generations are kept: every replica reads and hears of them."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest

from app.storage.redis.client.connection import open_redis
from app.storage.redis.completion_events import open_completion_events
from app.storage.redis.generations import RedisGenerations
from tests.fakes import InMemoryCompletionEvents, InMemoryGenerations

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from app.prompt_cache.generations.record import GenerationStore
    from app.storage.ports.prompt_index import CompletionEvents

AN_HOUR = timedelta(hours=1)
SOON_SECONDS = 10.0


@dataclass
class Place:
    """A store, and the news from it."""

    store: GenerationStore
    completions: CompletionEvents


@pytest.fixture(params=["memory", "redis"])
async def place(request: pytest.FixtureRequest) -> AsyncIterator[Place]:
    """Give each kind of store."""
    if request.param == "memory":
        completions = InMemoryCompletionEvents()
        yield Place(InMemoryGenerations(completions), completions)
        return
    async with (
        open_redis(request.getfixturevalue("redis_url")) as connections,
        open_completion_events(connections.subscriber) as heard,
    ):
        yield Place(RedisGenerations(connections.commands), heard)


async def test_the_last_record_is_the_record(place: Place) -> None:
    """A record replaces the one before, and no generation has another's."""
    one, other = str(uuid4()), str(uuid4())
    assert await place.store.get(one) is None

    await place.store.put(one, b"queued", AN_HOUR)
    await place.store.put(one, b"done", AN_HOUR)

    assert await place.store.get(one) == b"done"
    assert await place.store.get(other) is None


async def test_whoever_expects_a_generation_hears_of_its_records(place: Place) -> None:
    """Streams on any replica need not ask again and again."""
    generation_id = str(uuid4())
    clock = asyncio.get_running_loop().time

    with place.completions.expect(generation_id) as news:
        # Again and again: a subscription is made in the background.
        async with asyncio.timeout(SOON_SECONDS):
            while True:
                await place.store.put(generation_id, b"running", AN_HOUR)
                began = clock()
                await news.wait(0.1)
                if clock() - began < 0.1:
                    return
