"""A connection to Redis that is lost just before it is written to is an outage."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
import uvloop

from app.errors import CacheUnavailable
from app.storage.redis.client.traffic import open_redis
from app.storage.redis.completion_events import RedisCompletionEvents
from tests.servers import redis_server
from tests.until import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine
    from pathlib import Path

    from app.storage.redis.client.traffic import RedisConnections


@pytest.fixture(
    params=[asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"]
)
def run(request: pytest.FixtureRequest) -> Callable[[Coroutine[Any, Any, None]], None]:
    """Give a runner of coroutines for each of the event loops that we run on."""

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


async def cut(connection: Any) -> None:
    """Cut *connection* as the network does."""
    connection._writer.transport.abort()
    await asyncio.sleep(0.01)


async def close(connection: Any) -> None:
    """Close *connection* as another command that fails does."""
    await connection.disconnect(nowait=True)


def lose_once_looked_at(
    redis: RedisConnections, lose: Callable[[Any], Coroutine[Any, Any, None]]
) -> None:
    """Have *lose* end the connection of leases just before its next write."""
    pool: Any = redis.leases.client.connection_pool  # type: ignore[union-attr]
    (connection,) = pool._available_connections
    send = connection._send_packed_command

    async def lose_and_send(command: Any) -> None:
        connection._send_packed_command = send
        await lose(connection)
        await send(command)

    connection._send_packed_command = lose_and_send


@pytest.mark.parametrize("lose", [cut, close])
def test_what_may_be_repeated_is_sent_over_another(
    run: Callable[[Coroutine[Any, Any, None]], None],
    tmp_path: Path,
    lose: Callable[[Any], Coroutine[Any, Any, None]],
) -> None:
    """A command that may be repeated is answered over a new connection."""

    async def main() -> None:
        async with with_a_connection(tmp_path) as redis:
            lose_once_looked_at(redis, lose)

            assert await redis.leases.execute("SET", "a fox", "red")

    run(main())


@pytest.mark.parametrize("lose", [cut, close])
def test_what_may_not_be_repeated_is_an_outage(
    run: Callable[[Coroutine[Any, Any, None]], None],
    tmp_path: Path,
    lose: Callable[[Any], Coroutine[Any, Any, None]],
) -> None:
    """A command that may not be repeated raises `CacheUnavailable`."""

    async def main() -> None:
        async with with_a_connection(tmp_path) as redis:
            lose_once_looked_at(redis, lose)

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
