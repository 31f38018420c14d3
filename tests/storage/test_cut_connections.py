"""A connection to Redis that is cut just before it is written to is an outage."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
import uvloop

from app.errors import CacheUnavailable
from app.storage.redis.client.connection import open_redis
from app.storage.redis.completion_events import RedisCompletionEvents
from tests.servers import redis_server
from tests.until import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine
    from pathlib import Path

    from app.storage.redis.client.connection import RedisConnections


@pytest.fixture(
    params=[asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"]
)
def run(request: pytest.FixtureRequest) -> Callable[[Coroutine[Any, Any, None]], None]:
    """Give what runs a coroutine on each of the event loops that we run on."""

    def run_it(work: Coroutine[Any, Any, None]) -> None:
        with asyncio.Runner(loop_factory=request.param) as runner:
            runner.run(work)

    return run_it


@asynccontextmanager
async def with_a_connection(folder: Path) -> AsyncIterator[RedisConnections]:
    """Open a Redis whose leases have one connection, which has been used."""
    with redis_server(folder) as server:
        async with open_redis(server.url) as redis:
            await redis.leases.execute("PING")
            yield redis


def cut_once_looked_at(redis: RedisConnections) -> None:
    """Cut the connection of leases after the pool has found it well."""
    pool: Any = redis.leases.client.connection_pool  # type: ignore[union-attr]
    (connection,) = pool._available_connections
    look = connection.can_read

    async def look_and_be_cut(*args: Any, **options: Any) -> bool:
        connection.can_read = look
        found: bool = await look(*args, **options)
        connection._writer.transport.abort()
        await asyncio.sleep(0.01)
        return found

    connection.can_read = look_and_be_cut


def test_what_may_be_repeated_is_sent_over_another(
    run: Callable[[Coroutine[Any, Any, None]], None], tmp_path: Path
) -> None:
    """A command that may be repeated is answered over a new connection."""

    async def main() -> None:
        async with with_a_connection(tmp_path) as redis:
            cut_once_looked_at(redis)

            assert await redis.leases.execute("SET", "a fox", "red")

    run(main())


def test_what_may_not_be_repeated_is_an_outage(
    run: Callable[[Coroutine[Any, Any, None]], None], tmp_path: Path
) -> None:
    """A command that may not be repeated raises `CacheUnavailable`."""

    async def main() -> None:
        async with with_a_connection(tmp_path) as redis:
            cut_once_looked_at(redis)

            with pytest.raises(CacheUnavailable):
                await redis.leases.execute("INCR", "foxes", retry=False)

    run(main())


async def test_news_are_heard_again_after_an_error_of_the_event_loop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A `RuntimeError` of a cut connection does not end the subscription."""
    async with with_a_connection(tmp_path) as redis:
        completions, tries = RedisCompletionEvents(redis.subscriber), 0

        async def listen_once() -> None:
            nonlocal tries
            tries += 1
            raise RuntimeError("the handler is closed")

        monkeypatch.setattr(completions, "_listen_once", listen_once)
        listening = asyncio.create_task(completions.listen())
        try:
            await until(lambda: tries > 1)
            assert not listening.done()
        finally:
            listening.cancel()
