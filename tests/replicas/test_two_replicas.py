"""Two replicas over one Redis and one object store, as in production."""

from __future__ import annotations

import asyncio
from hashlib import sha256
from typing import TYPE_CHECKING

import aiohttp
import pytest

from tests.replica import environment_of, replica

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from pathlib import Path

    from tests.replica import Replica
    from tests.servers import S3Server

LIVE = "/api/v1/live/generate"
ADMIN_KEY = "a-key-for-tests-that-is-long-enough-0123456789"
PROJECT = {"X-API-Key": ADMIN_KEY, "X-Project": "acme/shop"}


@pytest.fixture
async def replicas(
    redis_url: str, s3_server: S3Server, bucket: str, tmp_path: Path
) -> AsyncIterator[tuple[Replica, Replica]]:
    """Run two replicas that ask for keys."""
    environment = environment_of(
        redis_url=redis_url,
        bucket=bucket,
        object_store=s3_server.environment(),
        AUTH="required",
        ADMIN_API_KEY=ADMIN_KEY,
    )
    async with (
        replica(environment, folder=tmp_path) as one,
        replica(environment, folder=tmp_path) as other,
    ):
        yield one, other


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    """Open a client without a key."""
    async with aiohttp.ClientSession() as opened:
        yield opened


async def test_a_prompt_painted_by_one_replica_is_a_hit_from_the_other(
    replicas: tuple[Replica, Replica], session: aiohttp.ClientSession
) -> None:
    """A prompt painted by one replica is a HIT of the other, with a common count."""
    one, other = replicas
    prompt = {"prompt": "a lighthouse in a storm"}

    async with session.get(one.url + LIVE, params=prompt, headers=PROJECT) as painted:
        first = await painted.read()
    async with session.get(other.url + LIVE, params=prompt, headers=PROJECT) as hit:
        second = await hit.read()
    async with session.get(one.url + LIVE, params=prompt, headers=PROJECT) as again:
        third = await again.read()

    assert painted.headers["X-Cache-Status"] == "MISS"
    assert hit.headers["X-Cache-Status"] == "HIT"
    assert hit.headers["X-Cache-Hit-Count"] == "1"
    assert again.headers["X-Cache-Hit-Count"] == "2"
    assert first == second == third
    assert hit.headers["ETag"] == painted.headers["ETag"]
    assert hit.headers["ETag"] == f'"{sha256(first).hexdigest()}"'
    assert hit.headers["X-Image-Id"] == painted.headers["X-Image-Id"]


async def test_a_herd_on_both_replicas_is_painted_once(
    replicas: tuple[Replica, Replica], session: aiohttp.ClientSession
) -> None:
    """Of 60 requests to two replicas one is a MISS, the others are counted HITs."""

    async def ask(running: Replica) -> tuple[str, int, bytes]:
        async with session.get(
            running.url + LIVE, params={"prompt": "a herd of elk"}, headers=PROJECT
        ) as answer:
            count = int(answer.headers.get("X-Cache-Hit-Count", 0))
            return answer.headers["X-Cache-Status"], count, await answer.read()

    answers = await asyncio.gather(*(ask(replicas[n % 2]) for n in range(60)))

    assert sorted(status for status, _, _ in answers) == ["HIT"] * 59 + ["MISS"]
    assert sorted(count for _, count, _ in answers) == list(range(60))
    assert len({body for _, _, body in answers}) == 1


async def test_statistics_and_entries_are_the_same_on_both_replicas(
    replicas: tuple[Replica, Replica], session: aiohttp.ClientSession
) -> None:
    """Within a second both replicas list the same sums and entries."""
    one, other = replicas
    for _ in range(3):
        async with session.get(
            one.url + LIVE, params={"prompt": "three hits?"}, headers=PROJECT
        ) as answer:
            size = len(await answer.read())
    await asyncio.sleep(1)  # what the contract allows the sums to lag

    async with session.get(f"{other.url}/api/v1/live/stats", headers=PROJECT) as answer:
        sums = await answer.json()
    async with session.get(
        f"{other.url}/api/v1/live/entries", headers=PROJECT
    ) as answer:
        listed = await answer.json()

    assert (sums["project"], sums["entries"]) == ("acme/shop", 1)
    assert (sums["hits"], sums["misses"], sums["bytes_stored"]) == (2, 1, size)
    assert sums["hit_rate"] == pytest.approx(2 / 3)
    assert [(e["prompt"], e["hits"]) for e in listed["entries"]] == [("three hits?", 2)]
    assert listed["cursor"] is None


async def _painted_and_hit(
    session: aiohttp.ClientSession, one: Replica, other: Replica, prompt: dict[str, str]
) -> Mapping[str, str]:
    """Paint at *one* and read the HIT of the *other*; return the painting's headers."""
    async with session.get(one.url + LIVE, params=prompt, headers=PROJECT) as painted:
        await painted.read()
    async with session.get(other.url + LIVE, params=prompt, headers=PROJECT) as hit:
        await hit.read()
    return painted.headers


async def test_a_purge_is_seen_at_once_by_every_replica(
    replicas: tuple[Replica, Replica], session: aiohttp.ClientSession
) -> None:
    """After a purge on one replica the other serves nothing of the old picture."""
    one, other = replicas
    prompt = {"prompt": "here today, gone tomorrow"}
    painted = await _painted_and_hit(session, one, other, prompt)
    prompt_hash = painted["X-Prompt-Hash"]
    permalink = other.url + painted["Content-Location"]

    async with session.delete(
        f"{one.url}/api/v1/live/entries/{prompt_hash}", headers=PROJECT
    ) as purged:
        assert await purged.json() == {"deleted": True}

    async with session.head(other.url + LIVE, params=prompt, headers=PROJECT) as gone:
        assert gone.status == 404
    async with session.get(permalink) as gone:
        assert gone.status == 404
    async with session.delete(
        f"{other.url}/api/v1/live/entries/{prompt_hash}", headers=PROJECT
    ) as again:
        assert again.status == 404
    async with session.get(other.url + LIVE, params=prompt, headers=PROJECT) as new:
        assert new.headers["X-Cache-Status"] == "MISS"
        assert new.headers["X-Image-Id"] != painted["X-Image-Id"]


async def test_a_refresh_replaces_the_picture_under_the_same_hash(
    replicas: tuple[Replica, Replica], session: aiohttp.ClientSession
) -> None:
    """A refresh replaces the picture on both replicas and keeps the hits."""
    one, other = replicas
    prompt = {"prompt": "paint it again"}
    painted = await _painted_and_hit(session, one, other, prompt)

    async with session.post(
        f"{one.url}/api/v1/live/entries/{painted['X-Prompt-Hash']}/refresh",
        headers=PROJECT,
    ) as refreshed:
        entry = await refreshed.json()

    assert refreshed.status == 200
    assert entry["image_id"] != painted["X-Image-Id"]
    assert entry["hits"] == 1
    async with session.get(other.url + LIVE, params=prompt, headers=PROJECT) as new:
        await new.read()
        assert new.headers["X-Image-Id"] == entry["image_id"]
        assert new.headers["X-Cache-Hit-Count"] == "2"
    async with session.get(one.url + painted["Content-Location"]) as old:
        assert old.status == 404


async def test_a_transient_image_is_served_by_every_replica(
    replicas: tuple[Replica, Replica], session: aiohttp.ClientSession
) -> None:
    """A transient image of one replica is served and deleted by the other."""
    one, other = replicas
    async with session.get(
        one.url + LIVE, params={"prompt": "to be lent"}, headers=PROJECT
    ) as painted:
        picture = await painted.read()

    async with session.post(
        f"{one.url}/api/images",
        data=picture,
        headers={**PROJECT, "Content-Type": "image/png"},
    ) as kept:
        lent = await kept.json()
    assert kept.status == 201
    async with session.get(f"{other.url}/api/images/{lent['id']}.png") as fetched:
        assert await fetched.read() == picture
    async with session.delete(
        f"{other.url}/api/images/{lent['id']}", headers=PROJECT
    ) as deleted:
        assert await deleted.json() == {"deleted": True}
    async with session.get(f"{one.url}/api/images/{lent['id']}") as gone:
        assert gone.status == 404


async def test_entries_of_another_project_are_not_found(
    replicas: tuple[Replica, Replica], session: aiohttp.ClientSession
) -> None:
    """Every route answers 404 for an entry of another project."""
    one, _ = replicas
    prompt = {"prompt": "our secret"}
    theirs = {**PROJECT, "X-Project": "rival/shop"}
    async with session.get(one.url + LIVE, params=prompt, headers=PROJECT) as painted:
        await painted.read()
    entry = f"{one.url}/api/v1/live/entries/{painted.headers['X-Prompt-Hash']}"

    async with session.get(one.url + LIVE, params=prompt, headers=theirs) as other:
        assert other.headers["X-Cache-Status"] == "MISS"
        assert other.headers["X-Prompt-Hash"] != painted.headers["X-Prompt-Hash"]
    for method, url in (
        ("GET", entry),
        ("DELETE", entry),
        ("POST", f"{entry}/refresh"),
        ("GET", f"{one.url}/api/v1/images/{painted.headers['X-Image-Id']}"),
    ):
        async with session.request(method, url, headers=theirs) as refused:
            assert (method, refused.status) == (method, 404)
    async with session.get(entry, headers=PROJECT) as still_there:
        assert still_there.status == 200
