"""An error of redis-py that is not its own is an outage, and ends as one."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, nullcontext
from typing import TYPE_CHECKING, Any

import pytest
import uvloop

from app.errors import CacheUnavailable
from app.storage.redis import keys
from app.storage.redis.client.traffic import open_redis
from app.storage.redis.completion_events import open_completion_events
from tests.servers import TcpProxy, redis_server
from tests.until import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine
    from contextlib import AbstractContextManager
    from pathlib import Path

    from app.storage.redis.client.traffic import RedisConnections

    Run = Callable[[Coroutine[Any, Any, None]], None]
    Lose = Callable[[Any], Coroutine[Any, Any, None]]


@pytest.fixture(
    params=[asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"]
)
def run(request: pytest.FixtureRequest) -> Run:
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


def lose_before_a_write(client: Any, lose: Lose) -> None:
    """Have *lose* end the only connection of *client* just before its next write."""
    (connection,) = client.connection_pool._available_connections
    send = connection._send_packed_command

    async def lose_and_send(command: Any) -> None:
        connection._send_packed_command = send
        await lose(connection)
        await send(command)

    connection._send_packed_command = lose_and_send


@pytest.mark.parametrize("lose", [cut, close])
@pytest.mark.parametrize(
    ("retry", "outcome"),
    [(True, nullcontext()), (False, pytest.raises(CacheUnavailable))],
    ids=["may be repeated", "may not be repeated"],
)
def test_a_lost_connection_is_replaced_or_an_outage(
    run: Run,
    tmp_path: Path,
    lose: Lose,
    outcome: AbstractContextManager[Any],
    *,
    retry: bool,
) -> None:
    """A command that may be repeated is answered, any other is `CacheUnavailable`."""

    async def main() -> None:
        async with with_a_connection(tmp_path) as redis:
            lose_before_a_write(redis.leases.client, lose)

            with outcome:
                assert await redis.leases.execute("INCR", "foxes", retry=retry) == 1

    run(main())


@pytest.mark.parametrize(
    "nonsense",
    [
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"_\r\n",
        b"-MOVED\r\n",
        b":1\r\n",
        b"+\xff\r\n",
    ],
)
async def test_a_server_that_is_no_redis_is_an_outage_that_ends(
    tmp_path: Path, nonsense: bytes
) -> None:
    """Commands fail as in any outage; once it is Redis again, all goes on."""
    with redis_server(tmp_path) as server:
        async with (
            TcpProxy(server.port) as proxy,
            open_redis(f"redis://127.0.0.1:{proxy.port}") as redis,
            open_completion_events(redis.subscriber),
        ):

            async def is_heard() -> bool:
                sent = redis.leases.execute("PUBLISH", keys.LANDED, "a fox")
                return bool(await sent)

            await until(is_heard)
            # More answers than commands, so that none waits for its time-out.
            proxy.talk(nonsense * 8)
            await proxy.cut()
            while not redis.breaker.is_open:
                for traffic in (redis.commands, redis.leases):
                    with pytest.raises(CacheUnavailable):
                        await traffic.execute("GET", "a fox")
            # The probe and the listener meet it, too.
            enough = proxy.accepted + 8
            await until(lambda: proxy.accepted >= enough)
            await proxy.heal()
            await proxy.cut()

            await until(lambda: not redis.breaker.is_open)
            assert await redis.commands.execute("GET", "a fox") is None
            await until(is_heard)


@pytest.mark.parametrize("lose", [cut, close])
def test_the_breaker_probes_on(run: Run, tmp_path: Path, lose: Lose) -> None:
    """A probe that loses its connection is followed by another."""

    async def main() -> None:
        async with with_a_connection(tmp_path) as redis:
            probe = redis.breaker._probe
            await probe.execute_command("PING")
            lose_before_a_write(probe, lose)

            for _ in range(2):
                redis.breaker.lost("", "a fox", asked_at=0, was_silent=True)
            await until(lambda: not redis.breaker.is_open)

    run(main())


@pytest.mark.parametrize("lose", [cut, close])
def test_news_are_heard_over_another_connection(
    run: Run, tmp_path: Path, lose: Lose
) -> None:
    """A connection that is lost before it subscribes does not end the subscription."""

    async def main() -> None:
        async with with_a_connection(tmp_path) as redis:
            await redis.subscriber.execute_command("PING")
            lose_before_a_write(redis.subscriber, lose)

            async with open_completion_events(redis.subscriber):

                async def is_heard() -> bool:
                    sent = redis.leases.execute("PUBLISH", keys.LANDED, "a fox")
                    return bool(await sent)

                await until(is_heard)

    run(main())
