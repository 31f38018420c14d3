"""Limits over three replicas, while one is killed and Redis is emptied."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
import redis

from tests.models_of_replicas import environment_with
from tests.replica import Replica, replica

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.servers import S3Server

# They take half a minute: three processes, and paintings that take their time.
pytestmark = [pytest.mark.long, pytest.mark.timeout(240)]

ADMIN = {
    "X-API-Key": "the-keeper-of-the-lighthouse-rows-at-night",
    "X-Project": "acme/shop",
}
PRICE, PLACES, PICTURES = 0.25, 9, 6
MODELS = f"""
[models.default]
provider = "placeholder"
price = {PRICE}
[models.default.options]
delay_seconds = 0.4
"""


@dataclass
class Three:
    """Three replicas over one Redis, and a client."""

    replicas: list[Replica]
    client: aiohttp.ClientSession
    redis_url: str

    def flush(self) -> None:
        """Empty Redis."""
        with redis.Redis.from_url(self.redis_url) as client:
            client.flushall()

    async def ask(
        self, where: Replica, method: str, path: str, *, json: object = None
    ) -> tuple[int, Any]:
        """Send a request to one replica as admin; return 0 for a cut connection."""
        try:
            async with self.client.request(
                method, f"{where.url}{path}", headers=ADMIN, json=json
            ) as answer:
                body = await answer.read()
                is_json = answer.content_type == "application/json"
                document = await answer.json() if is_json and body else None
                return answer.status, document
        except aiohttp.ClientError:
            return 0, None

    async def everywhere(self, path: str, prompts: range) -> Counter[int]:
        """Request every prompt at every live replica; count the statuses."""
        alive = [one for one in self.replicas if one.process.returncode is None]
        answers = await asyncio.gather(
            *(
                self.ask(where, "GET", f"{path}?prompt=fox+{number}")
                for number in prompts
                for where in alive
            )
        )
        return Counter(status for status, _ in answers)


@pytest.fixture
async def three(
    s3_server: S3Server, redis_url: str, tmp_path: Path
) -> AsyncIterator[Three]:
    """Run three replicas that ask for keys."""
    environment = environment_with(
        MODELS,
        folder=tmp_path,
        redis_url=redis_url,
        store=s3_server,
        AUTH="required",
        ADMIN_API_KEY=ADMIN["X-API-Key"],
        SCOPE_NEW_PER_ADDRESS_PER_HOUR="0",
        LEASE_SECONDS="2",
        WAIT_TIMEOUT_SECONDS="20",
    )
    async with AsyncExitStack() as stack:
        running = [
            await stack.enter_async_context(replica(environment, folder=tmp_path))
            for _ in range(3)
        ]
        client = await stack.enter_async_context(aiohttp.ClientSession())
        yield Three(running, client, redis_url)


async def books_balance(three: Three, pictures: int) -> None:
    """Compare journal, project and pictures with each other."""
    one = three.replicas[0]
    _, spend = await three.ask(one, "GET", "/api/v1/project/spend")
    _, project = await three.ask(one, "GET", "/api/v1/project")
    calls = len(spend["calls"])
    assert spend["total"] == calls * PRICE
    assert project["spent_today"] + project["reserved"] == spend["total"]
    # The killed replica's open call may have been paid, so it counts.
    assert pictures <= calls


async def test_places_are_exact_whatever_dies(three: Three) -> None:
    """A scope's quota is exact, even if a replica dies and Redis is emptied."""
    one, _, victim = three.replicas
    scope = "/api/v1/live/scopes/banner"
    status, _ = await three.ask(one, "PUT", scope, json={"limit": PLACES})
    assert status == 201

    asking = asyncio.create_task(
        three.everywhere("/live/acme/shop/banner", range(PLACES))
    )
    await asyncio.sleep(0.2)
    await victim.kill()
    three.flush()
    await asking
    again = await three.everywhere("/live/acme/shop/banner", range(PLACES))
    beyond = await three.everywhere("/live/acme/shop/banner", range(100, 120))

    assert again == {200: 2 * PLACES}
    assert beyond == {429: 40}
    _, said = await three.ask(one, "GET", scope)
    assert said["generated"] == PLACES
    three.flush()
    assert (await three.everywhere("/live/acme/shop/banner", range(200, 205))) == {
        429: 10
    }
    await books_balance(three, PLACES)


async def test_a_budget_is_exact_whatever_dies(three: Three) -> None:
    """A budget is exact, even if a replica dies, and every call is in the journal."""
    one, _, victim = three.replicas
    await three.ask(
        one, "PUT", "/api/v1/project", json={"budget_per_day": PICTURES * PRICE}
    )
    # Every replica knows within five seconds.
    await asyncio.sleep(5)

    asking = asyncio.create_task(three.everywhere("/api/v1/live/generate", range(40)))
    await asyncio.sleep(0.2)
    three.flush()
    await victim.kill()
    statuses = await asking
    assert set(statuses) <= {200, 429, 0, 503}
    three.flush()
    await three.everywhere("/api/v1/live/generate", range(40, 60))

    _, spend = await three.ask(one, "GET", "/api/v1/project/spend")
    assert spend["total"] == PICTURES * PRICE
    _, entries = await three.ask(one, "GET", "/api/v1/live/entries?limit=200")
    await books_balance(three, len(entries["entries"]))
    _, project = await three.ask(one, "GET", "/api/v1/project")
    assert project["spent_today"] + project["reserved"] == PICTURES * PRICE


async def test_a_rate_is_exact_over_replicas(three: Three) -> None:
    """A key's rate limit is exact over three replicas."""
    _, made = await three.ask(
        three.replicas[0],
        "POST",
        "/api/v1/keys",
        json={"project": "acme/zoo", "role": "read"},
    )
    admin = {**ADMIN, "X-Project": "acme/zoo"}
    async with three.client.put(
        f"{three.replicas[0].url}/api/v1/project",
        headers=admin,
        json={"rate_limit_per_minute": 17},
    ) as answer:
        assert answer.status == 200
    await asyncio.sleep(5)

    async def ask(where: Replica) -> int:
        async with three.client.get(
            f"{where.url}/api/v1/live/stats", headers={"X-API-Key": made["key"]}
        ) as answer:
            return answer.status

    statuses = await asyncio.gather(
        *(ask(where) for where in three.replicas for _ in range(20))
    )

    assert Counter(statuses) == {200: 17, 429: 43}
