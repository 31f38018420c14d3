"""Redis's circuit breaker opens at the second lost reply in a row."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from app.errors import CacheUnavailable
from app.storage.redis import scripts
from app.storage.redis.client.circuit_breaker import RedisBreaker
from app.storage.redis.client.traffic import open_redis
from tests.faults.lossy_wire import lossy_wire
from tests.servers import redis_server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from app.storage.redis.client.traffic import RedisConnections
    from tests.faults.lossy_wire import LossyWire
    from tests.servers import RedisServer


class NeverBack:
    """A probe that Redis never answers."""

    async def execute_command(self, *_: object) -> None:
        """Wait until cancelled."""
        await asyncio.get_running_loop().create_future()


@pytest.fixture
async def breaker() -> AsyncIterator[RedisBreaker]:
    """Give the breaker of a Redis that stays unavailable."""
    made = RedisBreaker(NeverBack())  # type: ignore[arg-type]
    yield made
    await made.aclose()


async def test_one_lost_reply_opens_nothing(breaker: RedisBreaker) -> None:
    """A reply between two losses keeps the breaker closed."""
    for _ in range(3):
        breaker.lost("", "key", asked_at=breaker.losses, was_silent=True)
        breaker.answered("")

    breaker.check("")
    assert not breaker.is_open


@pytest.mark.parametrize("was_silent", [True, False])
async def test_the_second_loss_in_a_row_opens_its_part(
    breaker: RedisBreaker, *, was_silent: bool
) -> None:
    """The second loss in a row opens the breaker for its node only."""
    for _ in range(2):
        breaker.lost("one", "key", asked_at=breaker.losses, was_silent=was_silent)

    with pytest.raises(CacheUnavailable):
        breaker.check("one")
    breaker.check("another")


async def test_a_cut_connection_is_one_loss_for_all_who_shared_it(
    breaker: RedisBreaker,
) -> None:
    """A cut connection is one loss for all its commands."""
    asked_at = breaker.losses
    for _ in range(20):
        breaker.lost("", "key", asked_at=asked_at, was_silent=False)
    assert not breaker.is_open

    breaker.lost("", "key", asked_at=breaker.losses, was_silent=False)
    assert breaker.is_open


async def test_two_silences_are_two_losses(breaker: RedisBreaker) -> None:
    """Two timeouts are two losses."""
    for _ in range(2):
        breaker.lost("", "key", asked_at=0, was_silent=True)

    assert breaker.is_open


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """Run a Redis behind the wire."""
    with redis_server(tmp_path_factory.mktemp("redis")) as started:
        yield started


@asynccontextmanager
async def wired(
    server: RedisServer,
) -> AsyncIterator[tuple[RedisConnections, LossyWire, list[bool]]]:
    """Connect through a wire that can lose replies; record the breaker's changes."""
    changes: list[bool] = []
    async with (
        lossy_wire(server.port) as wire,
        open_redis(wire.url, on_breaker=changes.append) as connections,
    ):
        for kind in (connections.commands, connections.leases):
            await kind.run(scripts.PEEK, ["{key}", "{key}:h"])
            await kind.run(scripts.HOLD, ["{key}:l"], ["a token", 60_000])
        yield connections, wire, changes


@pytest.mark.parametrize("silent", [True, False])
async def test_a_lost_reply_to_a_lease_is_asked_for_once_more(
    server: RedisServer, *, silent: bool
) -> None:
    """A lease command whose reply was lost is repeated with its token."""
    async with wired(server) as (connections, wire, _):
        wire.lose_reply_to(scripts.HOLD, silent=silent)

        holder = await connections.leases.run(
            scripts.HOLD, ["{key}:l"], ["a token", 60_000]
        )

        await wire.until_lost()
        assert holder is None


async def test_a_count_whose_reply_was_lost_is_not_asked_for_again(
    server: RedisServer,
) -> None:
    """A counting command whose reply was lost is not repeated."""
    async with wired(server) as (connections, wire, changes):
        wire.lose_reply_to(scripts.LOOK_UP)
        with pytest.raises(CacheUnavailable):
            await connections.commands.run(
                scripts.LOOK_UP, ["{key}", "{key}:h"], [b"12345678"], retry=False
            )

        await connections.commands.run(scripts.PEEK, ["{key}", "{key}:h"])
        assert changes == []


async def test_the_breaker_of_a_redis_that_died_closes_when_it_is_back(
    server: RedisServer,
) -> None:
    """A probe closes the breaker when Redis is back."""
    async with wired(server) as (connections, _, changes):
        server.kill()
        for _ in range(2):
            with pytest.raises(CacheUnavailable):
                await connections.commands.execute("GET", "key", retry=False)
        assert changes == [True]
        server.start()

        async with asyncio.timeout(15):
            while changes != [True, False]:  # noqa: ASYNC110 - a probe sends no event
                await asyncio.sleep(0.01)
        await connections.commands.execute("GET", "key")
