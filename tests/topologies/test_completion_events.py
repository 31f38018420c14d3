"""Completion events over each kind of Redis."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from hashlib import sha256
from typing import TYPE_CHECKING

import pytest

from app.storage.redis.client.traffic import open_redis
from app.storage.redis.completion_events import open_completion_events
from app.storage.redis.prompts import RedisPromptIndex
from tests.redis_topologies import redis_cluster, watched_redis

if TYPE_CHECKING:
    from collections.abc import Iterator

    from app.storage.redis.completion_events import RedisCompletionEvents

LEASE = timedelta(seconds=30)
HEARD_WITHIN_SECONDS = 20.0


@pytest.fixture(scope="module", params=["cluster", "sentinel"])
def url(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """Give the address of each kind of Redis."""
    run = redis_cluster if request.param == "cluster" else watched_redis
    with run(tmp_path_factory.mktemp("redis")) as servers:
        yield servers.url


async def test_every_replica_hears_of_a_commit_on_any_node(url: str) -> None:
    """A commit on any node reaches a follower before its next poll."""
    async with (
        open_redis(url) as leader,
        open_redis(url) as follower,
        open_completion_events(follower.subscriber) as completions,
    ):
        index = RedisPromptIndex(commands=leader.commands, leases=leader.leases)
        await _until_listening(index, completions)

        # More than enough to lie on every node of a Cluster.
        for number in range(12):
            prompt_hash = sha256(b"%d" % number).hexdigest()
            await index.acquire(prompt_hash, "a generation", LEASE)
            with completions.expect(prompt_hash) as completion:
                began = asyncio.get_running_loop().time()
                await index.commit(prompt_hash, "a generation", b"a record")
                await completion.wait(HEARD_WITHIN_SECONDS)
                took = asyncio.get_running_loop().time() - began

            assert took < HEARD_WITHIN_SECONDS


async def _until_listening(
    index: RedisPromptIndex, completions: RedisCompletionEvents
) -> None:
    """Return once events arrive."""
    prompt_hash = sha256(b"are you listening?").hexdigest()
    with completions.expect(prompt_hash) as completion:
        async with asyncio.timeout(HEARD_WITHIN_SECONDS):
            while True:
                await index.hold(prompt_hash, "unused", LEASE)
                await index.release(prompt_hash, "unused")
                began = asyncio.get_running_loop().time()
                await completion.wait(0.5)
                if asyncio.get_running_loop().time() - began < 0.5:
                    return
