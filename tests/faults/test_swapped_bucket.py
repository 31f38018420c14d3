"""The bucket is swapped under running replicas (fault row 50)."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest

from app.storage.s3 import open_s3_object_store
from tests.replica import environment_of, replica
from tests.test_commands import run
from tests.until import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path
    from subprocess import CompletedProcess

    from app.storage.s3.store import S3ObjectStore
    from tests.replica import Replica
    from tests.servers import S3Server

LIVE = "/api/v1/live/generate"
SOON_SECONDS = 15.0


@dataclass
class Swapped:
    """A replica, the bucket under it, and the commands of its operator."""

    replica: Replica
    store: S3ObjectStore
    session: aiohttp.ClientSession
    environment: dict[str, str]
    folder: Path

    async def ready(self, status: int) -> Any:
        """Return the document of /readyz once it answers with *status*."""
        async with asyncio.timeout(SOON_SECONDS):
            while True:
                async with self.session.get(f"{self.replica.url}/readyz") as answer:
                    if answer.status == status:
                        return await answer.json()
                await asyncio.sleep(0.05)

    @asynccontextmanager
    async def get(self, prompt: str) -> AsyncIterator[aiohttp.ClientResponse]:
        """Request a prompt; give the response."""
        url = f"{self.replica.url}{LIVE}"
        async with self.session.get(url, params={"prompt": prompt}) as answer:
            yield answer

    async def run(self, *words: str) -> CompletedProcess[str]:
        """Run a command of the service."""
        return await asyncio.to_thread(
            run, *words, folder=self.folder, environment=self.environment
        )


@pytest.fixture
async def swapped(
    s3_server: S3Server, redis_url: str, bucket: str, tmp_path: Path
) -> AsyncIterator[Swapped]:
    """Run a replica over a bucket that the test will swap."""
    environment = environment_of(
        redis_url=redis_url, bucket=bucket, object_store=s3_server.environment()
    )
    async with (
        replica(environment, folder=tmp_path) as one,
        open_s3_object_store(bucket=bucket) as store,
        aiohttp.ClientSession() as session,
    ):
        yield Swapped(one, store, session, environment, tmp_path)


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
    swapped: Swapped, bucket: str, how: str
) -> None:
    """Another bucket is an outage, which ends when the right one is back."""
    async with swapped.get("a fox") as first:
        assert first.headers["X-Cache-Status"] == "MISS"
        picture = await first.read()
    kept = await _taken_out(swapped.store)
    if how == "missing":
        await swapped.store._client.delete_bucket(Bucket=bucket)
    if how == "another":
        await swapped.store.put(
            "_system/ledger.json",
            b'{"version": 1, "id": "another"}',
            media_type="application/json",
        )
    # At once, before anything can have noticed.
    async with swapped.get("owl") as miss:
        assert miss.status == 503
        assert (await miss.json())["code"] == "storage_unavailable"
    document = await swapped.ready(503)
    assert document["status"] == "unfenced"
    await until(lambda: bool(swapped.replica.events("wrong ledger")))
    (logged,) = swapped.replica.events("wrong ledger")
    assert bucket in logged["reason"]
    assert bucket in document["dependencies"]["object_store"]["reason"]
    async with swapped.get("owl") as miss:
        # The bucket and the command are for operators.
        assert bucket not in await miss.text()
    async with swapped.get("a fox") as hit:
        # Out of memory.
        assert (hit.status, await hit.read()) == (200, picture)
    checked = await swapped.run("check")
    assert checked.returncode == 1
    assert bucket in checked.stderr
    if how == "missing":
        await swapped.store.make()
    assert {line.key async for line in swapped.store.list("")} <= {
        "_system/ledger.json"
    }

    for key, data in kept.items():
        await swapped.store.put(key, data, media_type="application/octet-stream")
    await swapped.ready(200)
    async with swapped.get("owl") as miss:
        assert (miss.status, miss.headers["X-Cache-Status"]) == (200, "MISS")


async def test_an_empty_bucket_is_adopted(swapped: Swapped, bucket: str) -> None:
    """After `rebuild --adopt` a replica paints into an empty bucket."""
    await _taken_out(swapped.store)
    await swapped.ready(503)
    refused = await swapped.run("rebuild")
    adopted = await swapped.run("rebuild", "--adopt")
    assert refused.returncode == 1
    assert bucket in refused.stderr
    assert adopted.returncode == 0, adopted.stderr
    await swapped.ready(200)
    async with swapped.get("owl") as miss:
        assert miss.headers["X-Cache-Status"] == "MISS"
