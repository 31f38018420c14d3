"""The benchmarks' seeds in Redis are what the service itself writes."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from redis.asyncio import Redis

from app.prompt_cache.statistics import Statistics
from app.storage.redis.client.traffic import open_redis
from app.storage.redis.prompts import RedisPromptIndex
from app.storage.redis.statistics import RedisStatistics
from app.storage.storage_key import Project
from benchmarks.seeds import NOON_MS, Seed, write_entries

SEEDS = [
    Seed(Project("acme", name), n) for n, name in enumerate(["shop", "shop", "zoo"])
]
A_MINUTE = timedelta(minutes=1)


async def test_seeds_are_what_painting_and_a_hit_leave(redis_url: str) -> None:
    """Seeds have the keys, values and memory of a commit and a hit."""
    async with Redis.from_url(redis_url) as redis:
        await write_entries(redis, SEEDS)
        seeded = await _contents(redis)
        await redis.flushall()
        await _written_by_the_service(redis_url, SEEDS)
        written = await _contents(redis)

    assert seeded == written
    # Entry and hits of each, sums, history and two lists of both projects, and the run.
    assert len(seeded) == 3 * 2 + 2 * 4 + 1


async def _written_by_the_service(url: str, seeds: list[Seed]) -> None:
    """Commit each of *seeds*, and hit it once."""
    async with open_redis(url) as connections:
        index = RedisPromptIndex(
            commands=connections.commands, leases=connections.leases
        )
        statistics = Statistics(RedisStatistics(connections.commands))
        for seed in seeds:
            entry, hit_ms = seed.entry, NOON_MS + seed.number
            await index.hold(entry.prompt_hash, "leader", A_MINUTE)
            assert await index.commit(entry.prompt_hash, "leader", entry.to_record())
            found = await index.look_up(entry.prompt_hash, hit_ms)
            assert found is not None
            assert found.record == entry.to_record()
            statistics.added(entry)
            statistics.hit(entry, found.hits or 0, hit_ms)
        await statistics.apply()


async def _contents(redis: Redis) -> dict[bytes, Any]:
    """Return value and memory of each key, without the numbers of batches."""
    return {
        key: (await redis.dump(key), await redis.memory_usage(key, samples=0))
        async for key in redis.scan_iter()
        if b":b:" not in key
    }
