"""Replicas over a Redis Cluster of three primaries."""

from __future__ import annotations

from itertools import count, islice
from typing import TYPE_CHECKING

import pytest

from app.prompt_cache.entry.prompt_key import Parameters, PromptKey
from app.spending.journal import account_of, today
from app.storage.redis import keys
from app.storage.storage_key import Project
from tests.faults.installation import installation
from tests.redis_topologies import redis_cluster
from tests.topologies.journeys import (
    herds_are_painted_once,
    prompts_are_shared,
    transient_images_are_shared,
)
from tests.until import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from tests.faults.place import Place
    from tests.redis_topologies import RedisCluster
    from tests.servers import RedisServer, S3Server

# Issue 4, item 5: how long a MISS may take to say that the cache is unavailable.
REFUSED_WITHIN_SECONDS = 2.0


PROJECT = Project("default", "main")


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[RedisCluster]:
    """Run three primaries."""
    with redis_cluster(tmp_path / "cluster") as started:
        yield started


@pytest.fixture
async def place(
    cluster: RedisCluster, s3_server: S3Server, tmp_path: Path
) -> AsyncIterator[Place]:
    """Run two replicas over the Cluster."""
    async with installation(
        tmp_path, s3_server, redis=cluster.primaries[0], redis_url=cluster.url
    ) as started:
        yield started


async def test_replicas_share_everything_over_a_cluster(
    place: Place, cluster: RedisCluster
) -> None:
    """Two replicas over a Cluster share all data."""
    everywhere = [
        prompt
        for server in cluster.primaries
        for prompt in islice(_prompts_on(cluster, server), 2)
    ]

    await prompts_are_shared(place, everywhere)
    await transient_images_are_shared(place)
    await herds_are_painted_once(place, [f"{prompt}, again" for prompt in everywhere])


@pytest.mark.parametrize("fault", ["killed", "frozen"])
async def test_a_primary_that_is_away_takes_only_its_own_slots(
    place: Place, cluster: RedisCluster, fault: str
) -> None:
    """Without a primary only its prompts are uncounted or refused."""
    one, other = place.replicas
    # Nothing is paid where the project's spend can't be reserved: that one stays.
    spend = keys.account(account_of(PROJECT, today()).name)[0]
    lost, *rest = sorted(
        cluster.primaries, key=lambda server: server is cluster.owner(spend)
    )
    its_prompts = _prompts_on(cluster, lost)
    other_prompts = [_prompts_on(cluster, server) for server in rest]
    painted = next(its_prompts)
    painted_elsewhere = [next(prompts) for prompts in other_prompts]
    for prompt in (painted, *painted_elsewhere):
        await place.get(prompt, one)

    lost.kill() if fault == "killed" else lost.freeze()
    hits = [await place.get(painted, at) for at in (one, other) * 2]
    misses = [await place.get(next(its_prompts), at) for at in (one, other) * 2]
    await until(lambda: _all_count(place, painted_elsewhere))
    new = [await place.get(next(prompts), other) for prompts in other_prompts]
    lost.start() if fault == "killed" else lost.thaw()
    await until(lambda: _all_count(place, [painted]))

    assert [(hit.status, hit.hits) for hit in hits] == [(200, None)] * 4
    assert {(got.status, got.code) for got in misses} == {(503, "cache_unavailable")}
    assert max(got.seconds for got in hits + misses) < REFUSED_WITHIN_SECONDS
    assert [got.cache for got in new] == ["MISS", "MISS"]
    assert set((await place.provider.all_calls()).values()) == {1}
    assert place.clients.answers_to(painted) == 1


def _prompts_on(cluster: RedisCluster, server: RedisServer) -> Iterator[str]:
    """Yield prompts whose keys are on *server*."""
    for number in count():
        prompt = f"a kite over field {number}"
        key = PromptKey(PROJECT, Parameters(prompt))
        if cluster.owner(keys.entry(key.hash)) is server:
            yield prompt


async def _all_count(place: Place, prompts: list[str]) -> bool:
    """Return whether both replicas count hits of painted prompts."""
    got = [await place.get(prompt, at) for prompt in prompts for at in place.replicas]
    return all(hit.hits for hit in got)
