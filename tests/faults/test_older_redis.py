"""Redis is restored from a snapshot, or a failover loses a purge (fault row 52)."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
import redis

from tests.redis_topologies import watched_redis
from tests.replica import Replica, environment_of, replica
from tests.servers import redis_server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.servers import RedisServer, S3Server

LIVE = "/api/v1/live/generate"
ENTRIES, STATISTICS = "/api/v1/live/entries", "/api/v1/live/stats"
MODELS = """
[models.default]
provider = "placeholder"
price = 0.05
"""
SOON_SECONDS = 30.0


async def _ask(
    session: aiohttp.ClientSession, at: Replica, prompt: str
) -> tuple[int, str, bytes]:
    """Repeat until Redis answers again; return status, cache status and body."""
    async with asyncio.timeout(SOON_SECONDS):
        while True:
            async with session.get(f"{at.url}{LIVE}", params={"prompt": prompt}) as got:
                body = await got.read()
                if b"cache_unavailable" not in body:
                    return got.status, got.headers.get("X-Cache-Status", ""), body
            await asyncio.sleep(0.1)


@asynccontextmanager
async def _two(
    environment: dict[str, str], folder: Path
) -> AsyncIterator[tuple[Replica, Replica, aiohttp.ClientSession]]:
    (folder / "models.toml").write_text(MODELS)
    environment |= {"PROVIDERS_FILE": str(folder / "models.toml")}
    async with (
        replica(environment, folder=folder) as one,
        replica(environment, folder=folder) as other,
        aiohttp.ClientSession() as session,
    ):
        yield one, other, session


async def _purge(session: aiohttp.ClientSession, at: Replica, prompt: str) -> None:
    async with session.get(f"{at.url}{LIVE}", params={"prompt": prompt}) as got:
        prompt_hash = got.headers["X-Prompt-Hash"]
    path = f"/api/v1/live/entries/{prompt_hash}"
    async with session.delete(f"{at.url}{path}") as answer:
        assert answer.status == 200, await answer.text()


def _restored_from_a_snapshot(server: RedisServer) -> None:
    server.kill()
    server.start()


async def test_row_52_a_redis_from_a_snapshot_serves_nothing_that_was_purged(
    s3_server: S3Server, bucket: str, tmp_path: Path
) -> None:
    """A restored Redis serves no purged picture, and counts budgets anew."""
    with redis_server(tmp_path / "redis") as server:
        environment = environment_of(
            redis_url=server.url,
            bucket=bucket,
            object_store=s3_server.environment(),
            BUDGET_PER_DAY="0.20",
        )
        async with _two(environment, tmp_path) as (one, other, session):
            for at in (one, other):
                await _ask(session, at, "a red fox")
            with redis.Redis.from_url(server.url) as client:
                client.save()
            # Three more are paid, and one is purged, after the snapshot.
            for prompt in ("an owl", "a seal", "a hare"):
                assert (await _ask(session, one, prompt))[1] == "MISS"
            await _purge(session, one, "a red fox")
            _restored_from_a_snapshot(server)

            # The other replica has its bytes in memory; there is no budget left.
            status, _, body = await _ask(session, other, "a red fox")
            assert (status, b"budget_exhausted" in body) == (429, True), body
            for prompt in ("an owl", "a seal", "a hare"):
                assert (await _ask(session, other, prompt))[1] == "HIT"


async def _seen(session: aiohttp.ClientSession, at: Replica, path: str) -> Any:
    """Repeat a GET until Redis answers again; return the answer's JSON."""
    async with asyncio.timeout(SOON_SECONDS):
        while True:
            async with session.get(f"{at.url}{path}") as got:
                if got.status == 200:
                    return await got.json()
            await asyncio.sleep(0.1)


async def test_a_redis_from_a_snapshot_lists_and_counts_no_ghosts(
    s3_server: S3Server, bucket: str, tmp_path: Path
) -> None:
    """After a snapshot, lists and statistics have what the manifests name."""
    with redis_server(tmp_path / "redis") as server:
        environment = environment_of(
            redis_url=server.url,
            bucket=bucket,
            object_store=s3_server.environment(),
        )
        async with _two(environment, tmp_path) as (one, other, session):
            for prompt in ("a red fox", "an owl", "a seal"):
                await _ask(session, one, prompt)
            await _seen(session, one, STATISTICS)
            with redis.Redis.from_url(server.url) as client:
                client.save()
            await _purge(session, one, "a red fox")
            async with session.get(f"{one.url}{LIVE}?prompt=an+owl") as got:
                owl = got.headers["X-Prompt-Hash"]
            async with session.post(f"{one.url}{ENTRIES}/{owl}/refresh") as answer:
                assert answer.status == 200, await answer.text()
            now = await _seen(session, one, ENTRIES)
            bytes_stored = (await _seen(session, one, STATISTICS))["bytes_stored"]
            _restored_from_a_snapshot(server)

            statistics = await _seen(session, other, STATISTICS)
            lists = [await _seen(session, at, ENTRIES) for at in (one, other)]

            pictures = {entry["image_id"] for entry in now["entries"]}
            for listed in lists:
                ids = [entry["image_id"] for entry in listed["entries"]]
                assert (len(ids), set(ids)) == (2, pictures)
            assert statistics["entries"] == 2
            assert statistics["bytes_stored"] == bytes_stored


@pytest.mark.parametrize("how", ["purged", "refreshed"])
async def test_a_failover_that_lost_it_serves_nothing_older(
    s3_server: S3Server, bucket: str, tmp_path: Path, how: str
) -> None:
    """A promoted Redis that missed a purge does not serve the purged picture."""
    with watched_redis(tmp_path / "redis") as watched:
        environment = environment_of(
            redis_url=watched.url,
            bucket=bucket,
            object_store=s3_server.environment(),
        )
        async with _two(environment, tmp_path) as (one, other, session):
            _, _, old = await _ask(session, one, "a red fox")
            await _ask(session, other, "a red fox")
            with redis.Redis.from_url(watched.replica.url) as second:
                # It has heard of the entry, and then hears nothing more.
                second.execute_command("REPLICAOF", "127.0.0.1", 1)
            if how == "purged":
                await _purge(session, one, "a red fox")
            else:
                async with session.get(
                    f"{one.url}{LIVE}", params={"prompt": "a red fox"}
                ) as got:
                    prompt_hash = got.headers["X-Prompt-Hash"]
                path = f"/api/v1/live/entries/{prompt_hash}/refresh"
                async with session.post(f"{one.url}{path}") as answer:
                    assert answer.status == 200, await answer.text()
                    image_id = (await answer.json())["image_id"]
            watched.primary.kill()

            async with asyncio.timeout(SOON_SECONDS):
                while True:
                    async with session.get(
                        f"{other.url}{LIVE}", params={"prompt": "a red fox"}
                    ) as got:
                        if got.status == 200 and "X-Cache-Hit-Count" in got.headers:
                            break
                        if got.headers.get("X-Cache-Status") == "MISS":
                            break
                    await asyncio.sleep(0.2)
            if how == "purged":
                assert got.headers["X-Cache-Status"] == "MISS"
            else:
                assert got.headers["X-Image-Id"] == image_id
            assert old
