"""A replica over a store whose conditional writes do not hold (fault row 29)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest

from tests.replica import environment_of, replica
from tests.servers import conditions_proxy
from tests.test_commands import run

if TYPE_CHECKING:
    from pathlib import Path

    from tests.servers import ConditionsProxy, S3Server

LIVE = "/api/v1/live/generate"
SOON_SECONDS = 20.0


def _environment(
    proxy: ConditionsProxy, redis_url: str, bucket: str, **more: str
) -> dict[str, str]:
    return environment_of(
        redis_url=redis_url, bucket=bucket, object_store=proxy.environment(), **more
    )


async def _readiness(session: aiohttp.ClientSession, url: str, fence: str) -> Any:
    """Return the status and document of /readyz once its fence is *fence*."""
    async with asyncio.timeout(SOON_SECONDS):
        while True:
            async with session.get(f"{url}/readyz") as answer:
                document = await answer.json()
                if document["fence"] == fence and document["status"] != "starting":
                    return answer.status, document
            await asyncio.sleep(0.05)


@pytest.mark.parametrize(
    ("behaviour", "said"),
    [
        ("strip", "of 8 creates of one key at once won"),
        ("race", "of 8 creates of one key at once won"),
        ("refuse", "501 NotImplemented to a PUT with If-None-Match"),
    ],
)
async def test_check_names_what_the_store_did(
    s3_server: S3Server,
    redis_url: str,
    bucket: str,
    tmp_path: Path,
    *,
    behaviour: str,
    said: str,
) -> None:
    """`check` ends with status 1 and names how the store failed the proof."""
    async with conditions_proxy(s3_server) as proxy:
        environment = _environment(proxy, redis_url, bucket)
        async with replica(environment, folder=tmp_path):
            pass
        proxy.behaviour = behaviour
        ended = await asyncio.to_thread(
            run, "check", folder=tmp_path, environment=environment
        )
        trusting = await asyncio.to_thread(
            run,
            "check",
            folder=tmp_path,
            environment=environment | {"LEDGER_FENCE": "lease"},
        )

    assert ended.returncode == 1
    assert said in ended.stderr
    assert trusting.returncode == 0, trusting.stderr
    assert "lease, a warning" in trusting.stdout


@pytest.mark.parametrize("behaviour", ["strip", "refuse"])
async def test_row_29_nothing_is_painted_over_a_store_that_failed(
    s3_server: S3Server, redis_url: str, bucket: str, tmp_path: Path, behaviour: str
) -> None:
    """Over a store that failed the proof only misses are 503."""
    async with conditions_proxy(s3_server) as proxy, aiohttp.ClientSession() as session:
        environment = _environment(proxy, redis_url, bucket)
        async with (
            replica(environment, folder=tmp_path) as before,
            session.get(f"{before.url}{LIVE}", params={"prompt": "a fox"}) as answer,
        ):
            assert answer.status == 200
            picture, etag = await answer.read(), answer.headers["ETag"]
            prompt_hash = answer.headers["X-Prompt-Hash"]
        proxy.behaviour = behaviour
        async with replica(environment, folder=tmp_path, ready=False) as failed:
            status, document = await _readiness(session, failed.url, "failed")
            assert (status, document["status"]) == (503, "unfenced")
            async with session.get(
                f"{failed.url}{LIVE}", params={"prompt": "a barn owl"}
            ) as answer:
                assert answer.status == 503
                assert (await answer.json())["code"] == "storage_unavailable"
            async with session.get(
                f"{failed.url}{LIVE}", params={"prompt": "a fox"}
            ) as answer:
                assert answer.headers["X-Cache-Status"] == "HIT"
                assert (await answer.read(), answer.headers["ETag"]) == (picture, etag)
            async with session.post(
                f"{failed.url}/api/images",
                data=picture,
                headers={"Content-Type": "image/png"},
            ) as answer:
                assert answer.status == 201
            async with session.put(
                f"{failed.url}/api/v1/project", json={"budget_per_day": 5}
            ) as answer:
                assert answer.status == 200, await answer.text()
            async with session.delete(
                f"{failed.url}/api/v1/live/entries/{prompt_hash}"
            ) as answer:
                assert answer.status == 200
            async with session.get(f"{failed.url}/metrics") as answer:
                metrics = await answer.text()
            assert 'paintonce_store_fence{verdict="failed"} 1.0' in metrics
            (logged,) = failed.events("store fence")
            assert logged["level"] == "ERROR"


async def test_with_the_lease_no_condition_reaches_the_store(
    s3_server: S3Server, redis_url: str, bucket: str, tmp_path: Path
) -> None:
    """With LEDGER_FENCE=lease no conditional write reaches the store."""
    async with (
        conditions_proxy(s3_server, "refuse") as proxy,
        aiohttp.ClientSession() as session,
    ):
        environment = _environment(proxy, redis_url, bucket, LEDGER_FENCE="lease")
        async with replica(environment, folder=tmp_path) as one:
            for cache_status in ("MISS", "HIT"):
                async with session.get(
                    f"{one.url}{LIVE}", params={"prompt": "a grey seal"}
                ) as answer:
                    assert answer.headers["X-Cache-Status"] == cache_status
            async with session.put(
                f"{one.url}/api/v1/project", json={"budget_per_day": 5}
            ) as answer:
                assert answer.status == 200
            (logged,) = one.events("store fence")
            assert logged["level"] == "WARNING"

        assert not proxy.seen
