"""The contract of the store of generations, for Redis and the fake."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest

from app.storage.redis.client.traffic import open_redis
from app.storage.redis.completion_events import open_completion_events
from app.storage.redis.generations import RedisGenerations
from tests.fakes import InMemoryCompletionEvents, InMemoryGenerations

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from app.storage.ports.generations import GenerationStore
    from app.storage.ports.prompt_index import CompletionEvents

AN_HOUR = timedelta(hours=1)
NOW = timedelta(0)
SOON_SECONDS = 10.0


@dataclass
class Place:
    """A store and its events."""

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
    """A record replaces the previous one of its generation only."""
    one, other = str(uuid4()), str(uuid4())
    assert await place.store.get(one) is None

    await place.store.put(one, b"queued", AN_HOUR)
    await place.store.put(one, b"done", AN_HOUR)

    assert await place.store.get(one) == b"done"
    assert await place.store.get(other) is None


async def test_a_watcher_of_a_generation_gets_its_events(place: Place) -> None:
    """A watcher of a generation gets an event for each new record."""
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


async def claimed(place: Place, *members: str) -> set[str]:
    """Claim the members that are due; return those of *members*."""
    return set(await place.store.claim(1000, AN_HOUR)) & set(members)


async def test_what_is_watched_is_claimed_once_it_is_due(place: Place) -> None:
    """A due generation is claimed once for a time; an ended one never."""
    store = place.store
    due, alive, over = (f"{uuid4()} hash acme/shop" for _ in range(3))
    await store.watch([due, over], NOW)
    await store.watch([alive], AN_HOUR)
    await store.unwatch(over)
    await asyncio.sleep(0.002)

    assert await claimed(place, due, alive, over) == {due}
    assert await claimed(place, due, alive, over) == set()

    await store.watch([due], NOW)
    await asyncio.sleep(0.002)
    assert await claimed(place, due, alive, over) == {due}


async def test_two_replicas_claim_no_generation_twice(place: Place) -> None:
    """Two replicas that claim at once never get the same generation."""
    members = [f"{uuid4()} hash acme/shop" for _ in range(20)]
    await place.store.watch(members, NOW)
    await asyncio.sleep(0.002)

    claims = await asyncio.gather(*(place.store.claim(7, AN_HOUR) for _ in range(6)))

    found = [member for claim in claims for member in claim if member in members]
    assert sorted(found) == sorted(members)
    assert max(map(len, claims)) <= 7
