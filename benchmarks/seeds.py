"""Entries by the million: written as the service writes them, without painting."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING
from uuid import UUID

from redis.asyncio import Redis

from app.prompt_cache.entry.entry import PromptEntry
from app.prompt_cache.entry.prompt_key import Parameters, PromptKey
from app.prompt_cache.statistics import Statistics
from app.storage.redis import keys
from app.storage.redis.client.clients import ServerClient
from app.storage.redis.client.connection import RedisConnection
from app.storage.redis.prompts import access
from app.storage.redis.statistics import RedisStatistics
from benchmarks.stage import PICTURE_BYTES, target_of
from tests.fake_provider.pictures import paint

if TYPE_CHECKING:
    from app.storage.storage_key import Project
    from benchmarks.stage import Stage

AT_ONCE = 2000
NOON_MS = 1_767_225_600_000
WRITERS = 16


@dataclass(frozen=True, slots=True)
class Seed:
    """The *number*-th prompt of *project*, and its picture."""

    project: Project
    number: int
    data: bytes = b""

    @property
    def prompt(self) -> str:
        """Some 60 characters, the length of a sample of real prompts."""
        return f"a lighthouse in a storm, seen by the {self.number}th passing gull"

    @property
    def target(self) -> str:
        """The request target of the prompt."""
        return target_of(self.prompt)

    @property
    def entry(self) -> PromptEntry:
        """The entry of the prompt."""
        key = PromptKey(self.project, Parameters(self.prompt))
        return PromptEntry(
            prompt_hash=key.hash,
            project=self.project,
            parameters=key.parameters,
            image_id=str(
                UUID(bytes=sha256(key.hash.encode()).digest()[:16], version=4)
            ),
            media_type="image/png",
            size=len(self.data) or 65_536,
            digest=sha256(self.data or key.hash.encode()).hexdigest(),
            width=1024,
            height=1024,
            model="default",
            price=0.04,
            is_placeholder=False,
            created_ms=NOON_MS,
            generation_id="",
        )


async def write_entries(redis: Redis, seeds: list[Seed]) -> None:
    """Write all data of *seeds* that the service keeps in Redis, each hit once."""
    client = ServerClient(connection_pool=redis.connection_pool)
    connection = RedisConnection(client, breaker=None, at_once=1, timeout_seconds=30.0)
    statistics = Statistics(RedisStatistics(connection))
    # Else replicas would compare each entry with its manifest, and it has none.
    run_id = (await redis.info("server"))["run_id"]
    await redis.hset(keys.BEGAN, "", run_id)
    for at in range(0, len(seeds), AT_ONCE):
        pipeline = redis.pipeline(transaction=False)
        for seed in seeds[at : at + AT_ONCE]:
            entry, hit_ms = seed.entry, NOON_MS + seed.number
            key, hits = keys.entry_and_hits(entry.prompt_hash)
            # The data that COMMIT and LOOK_UP leave, without taking a million leases.
            pipeline.set(key, access(hit_ms) + entry.to_record())
            pipeline.set(hits, 1)
            statistics.added(entry)
            statistics.hit(entry, 1, hit_ms)
        await pipeline.execute()
        await statistics.apply()


def picture(size: int = PICTURE_BYTES) -> bytes:
    """Return a picture of *size* bytes or a few more."""
    return paint(number=1, prompt="a gull", at_least_bytes=size)


async def keep(stage: Stage, seeds: list[Seed]) -> None:
    """Write the entries of *seeds* and their pictures in the object store."""
    async with Redis.from_url(stage.redis.url) as redis:
        await write_entries(redis, seeds)
    await write_pictures(stage, seeds)


async def write_pictures(stage: Stage, seeds: list[Seed]) -> None:
    """Write the pictures of *seeds* in the object store."""
    waiting = iter(seeds)
    async with stage.object_store() as store:

        async def write() -> None:
            for seed in waiting:
                key = str(seed.entry.storage_key)
                await store.put(key, seed.data, media_type="image/png")

        await asyncio.gather(*(write() for _ in range(WRITERS)))
