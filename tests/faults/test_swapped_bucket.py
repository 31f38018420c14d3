"""The bucket is swapped under running replicas (fault row 50)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest

from app.storage.s3 import open_s3_object_store
from tests.replica import environment_of, replica
from tests.test_commands import run
from tests.until import until

if TYPE_CHECKING:
    from pathlib import Path

    from app.storage.s3.store import S3ObjectStore
    from tests.servers import S3Server

LIVE = "/api/v1/live/generate"
SOON_SECONDS = 15.0


async def _ready(session: aiohttp.ClientSession, url: str, status: int) -> Any:
    """Return the document of /readyz once it answers with *status*."""
    async with asyncio.timeout(SOON_SECONDS):
        while True:
            async with session.get(f"{url}/readyz") as answer:
                if answer.status == status:
                    return await answer.json()
            await asyncio.sleep(0.05)


async def _taken_out(store: S3ObjectStore) -> dict[str, bytes]:
    """Empty the bucket; return its objects."""
    objects: dict[str, bytes] = {}
    async for listed in store.list(""):
        found = await store.get(listed.key)
        assert found is not None
        objects[listed.key] = found.data
    for key in objects:
        await store.delete(key)
    return objects


@pytest.mark.parametrize("how", ["missing", "empty", "another"])
async def test_row_50_another_bucket_is_an_outage(
    s3_server: S3Server, redis_url: str, bucket: str, tmp_path: Path, *, how: str
) -> None:
    """Another bucket is an outage, which ends when the right one is back."""
    environment = environment_of(
        redis_url=redis_url, bucket=bucket, object_store=s3_server.environment()
    )
    async with (
        replica(environment, folder=tmp_path) as one,
        open_s3_object_store(bucket=bucket) as store,
        aiohttp.ClientSession() as session,
    ):
        async with session.get(f"{one.url}{LIVE}", params={"prompt": "a fox"}) as first:
            assert first.headers["X-Cache-Status"] == "MISS"
            picture = await first.read()
        kept = await _taken_out(store)
        if how == "missing":
            await store._client.delete_bucket(Bucket=bucket)
        if how == "another":
            await store.put(
                "_system/ledger.json",
                b'{"version": 1, "id": "another"}',
                media_type="application/json",
            )
        # At once, before anything can have noticed.
        async with session.get(f"{one.url}{LIVE}", params={"prompt": "owl"}) as miss:
            assert miss.status == 503
            assert (await miss.json())["code"] == "storage_unavailable"
        document = await _ready(session, one.url, 503)
        assert document["status"] == "unfenced"
        await until(lambda: bool(one.events("wrong ledger")))
        (logged,) = one.events("wrong ledger")
        assert bucket in logged["reason"]
        assert bucket in document["dependencies"]["object_store"]["reason"]
        async with session.get(f"{one.url}{LIVE}", params={"prompt": "owl"}) as miss:
            # The bucket and the command are for operators.
            assert bucket not in await miss.text()
        async with session.get(f"{one.url}{LIVE}", params={"prompt": "a fox"}) as hit:
            # Out of memory.
            assert (hit.status, await hit.read()) == (200, picture)
        checked = await asyncio.to_thread(
            run, "check", folder=tmp_path, environment=environment
        )
        assert checked.returncode == 1
        assert bucket in checked.stderr
        if how == "missing":
            await store.make()
        assert {line.key async for line in store.list("")} <= {"_system/ledger.json"}

        for key, data in kept.items():
            await store.put(key, data, media_type="application/octet-stream")
        await _ready(session, one.url, 200)
        async with session.get(f"{one.url}{LIVE}", params={"prompt": "owl"}) as miss:
            assert (miss.status, miss.headers["X-Cache-Status"]) == (200, "MISS")


async def test_an_empty_bucket_is_adopted(
    s3_server: S3Server, redis_url: str, bucket: str, tmp_path: Path
) -> None:
    """After `rebuild --adopt` a replica paints into an empty bucket."""
    environment = environment_of(
        redis_url=redis_url, bucket=bucket, object_store=s3_server.environment()
    )
    async with (
        replica(environment, folder=tmp_path) as one,
        open_s3_object_store(bucket=bucket) as store,
        aiohttp.ClientSession() as session,
    ):
        await _taken_out(store)
        await _ready(session, one.url, 503)
        refused = await asyncio.to_thread(
            run, "rebuild", folder=tmp_path, environment=environment
        )
        adopted = await asyncio.to_thread(
            run, "rebuild", "--adopt", folder=tmp_path, environment=environment
        )
        assert refused.returncode == 1
        assert bucket in refused.stderr
        assert adopted.returncode == 0, adopted.stderr
        await _ready(session, one.url, 200)
        async with session.get(f"{one.url}{LIVE}", params={"prompt": "owl"}) as miss:
            assert miss.headers["X-Cache-Status"] == "MISS"
