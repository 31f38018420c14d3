"""Concurrent commands share one Redis connection, and each gets its own answer."""

from __future__ import annotations

import asyncio
import random
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import (
    AuthenticationError,
    NoScriptError,
    OutOfMemoryError,
    ResponseError,
)
from redis.exceptions import ConnectionError as RedisCut
from redis.exceptions import TimeoutError as RedisTimedOut

from app.errors import CacheUnavailable, root_of
from app.storage.redis.client import pipeline, wire
from app.storage.redis.client.failures import CacheFull
from app.storage.redis.client.pipeline import CommandPipeline
from app.storage.redis.client.script import Script
from app.storage.redis.client.traffic import open_redis
from tests.servers import TcpProxy, redis_server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from tests.servers import RedisServer

ECHO = "return ARGV[1]"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """Run one Redis for the module; each test uses keys of its own."""
    with redis_server(tmp_path_factory.mktemp("redis")) as running:
        yield running


@pytest.fixture
async def redis(server: RedisServer) -> AsyncIterator[Redis]:
    """Give a plain client for looking and interfering."""
    async with Redis.from_url(server.url) as client:
        await client.flushall()
        yield client


@asynccontextmanager
async def opened(
    port: int, *, timeout_seconds: float = 5.0, **options: Any
) -> AsyncIterator[CommandPipeline]:
    """Open round trips to *port*."""
    retry = Retry(NoBackoff(), 0)
    async with Redis(port=port, protocol=2, retry=retry, **options) as client:
        trips = CommandPipeline(client.connection_pool, timeout_seconds=timeout_seconds)
        try:
            yield trips
        finally:
            await trips.aclose()


async def connections_of(redis: Redis) -> list[dict[str, Any]]:
    """Return the server's clients without *redis* itself."""
    me = await redis.client_id()
    return [one for one in await redis.client_list() if int(one["id"]) != me]


async def test_concurrent_commands_share_a_connection_and_a_read(
    server: RedisServer, redis: Redis
) -> None:
    """A hundred concurrent commands get their own answers over one connection."""
    async with opened(server.port) as trips:
        answers = await asyncio.gather(
            *(trips.execute(("ECHO", f"gull {number}")) for number in range(100))
        )

        assert answers == [b"gull %d" % number for number in range(100)]
        (connection,) = await connections_of(redis)
        assert connection["cmd"] == "echo"


async def test_a_storm_of_cancellations_never_mixes_answers(
    server: RedisServer, redis: Redis
) -> None:
    """Random cancellations never mix up answers."""
    dice = random.Random(7)
    await redis.mset({f"gull:{number}": f"nest {number}" for number in range(50)})
    async with opened(server.port) as trips:

        async def ask(number: int) -> bool:
            value = await trips.execute(("GET", f"gull:{number}"))
            assert value == b"nest %d" % number
            return True

        right = 0
        for _ in range(100):
            asking = [asyncio.create_task(ask(dice.randrange(50))) for _ in range(40)]
            for _ in range(dice.randrange(3)):
                await asyncio.sleep(0)
            for task in dice.sample(asking, 20):
                task.cancel()
            ends = await asyncio.gather(*asking, return_exceptions=True)
            assert all(
                end is True or isinstance(end, asyncio.CancelledError) for end in ends
            )
            right += sum(end is True for end in ends)

        assert right >= 2000
        assert len(await connections_of(redis)) == 1


async def test_each_hit_is_counted_once_under_cancellations(
    server: RedisServer, redis: Redis
) -> None:
    """Under cancellations each answered command ran once."""
    async with opened(server.port) as trips:
        seen: list[int] = []

        async def count() -> None:
            seen.append(await trips.execute(("INCR", "hits")))

        counting = [asyncio.create_task(count()) for _ in range(500)]
        await asyncio.sleep(0)
        for task in counting[::3]:
            task.cancel()
        await asyncio.gather(*counting, return_exceptions=True)

        await trips.execute(("PING",))
        total = int(await redis.get("hits") or 0)
        assert len(set(seen)) == len(seen) == 500 - len(counting[::3])
        assert len(seen) <= total <= 500


async def test_a_caller_that_leaves_before_the_write_is_never_sent(
    server: RedisServer, redis: Redis
) -> None:
    """A command cancelled before the write is not sent."""
    async with opened(server.port) as trips:
        await trips.execute(("PING",))
        leaving = asyncio.ensure_future(trips.execute(("INCR", "hits")))
        asyncio.get_running_loop().call_soon(leaving.cancel)
        staying = trips.execute(("ECHO", "gull"))

        assert await staying == b"gull"
        assert leaving.cancelled()
        assert await redis.exists("hits") in {0, 1}
        await asyncio.sleep(0)

        doomed = asyncio.ensure_future(trips.execute(("INCR", "doomed")))
        doomed.cancel()
        assert await trips.execute(("ECHO", "gull")) == b"gull"
        assert not await redis.exists("doomed")


async def test_a_connection_that_is_cut_fails_all_its_callers(
    server: RedisServer,
) -> None:
    """A cut connection fails all its commands, and the next one reconnects."""
    async with TcpProxy(server.port) as wire, opened(wire.port) as trips:
        await trips.execute(("PING",))
        waiting = [
            asyncio.ensure_future(trips.execute(("BLPOP", f"silent:{number}", 0)))
            for number in range(5)
        ]
        await trips_are_sent()
        await wire.cut()

        ends = await asyncio.gather(*waiting, return_exceptions=True)

        assert [type(end) for end in ends] == [RedisCut] * 5
        assert await trips.execute(("ECHO", "gull")) == b"gull"


async def trips_are_sent() -> None:
    """Run the loop until the planned write is done."""
    for _ in range(3):
        await asyncio.sleep(0)


async def test_without_a_server_every_command_fails(
    tmp_path: Path,
) -> None:
    """A refused connection fails every command, and is tried again."""
    with redis_server(tmp_path) as server:
        server.kill()
        async with opened(server.port) as trips:
            ends = await asyncio.gather(
                *(trips.execute(("PING",)) for _ in range(3)), return_exceptions=True
            )
            assert [type(end) for end in ends] == [RedisCut] * 3
            server.start()

            assert await trips.execute(("PING",)) == b"PONG"


@pytest.mark.parametrize(
    "greeting", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"_\r\n", b"-MOVED\r\n"]
)
async def test_a_server_that_is_no_redis_is_an_outage(greeting: bytes) -> None:
    """Commands fail as in any outage, whatever redis-py makes of the greeting."""

    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(65_536):
            writer.write(greeting)
        writer.close()

    async with await asyncio.start_server(greet, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        async with opened(port, username="fox", password="den") as trips:
            ends = await asyncio.gather(
                *(trips.execute(("PING",)) for _ in range(3)), return_exceptions=True
            )

    assert [type(end) for end in ends] == [RedisCut] * 3


@pytest.mark.parametrize("login", ["", ":wrong@", "stranger:nest@"])
async def test_a_refused_login_is_an_outage(tmp_path: Path, login: str) -> None:
    """A Redis that refuses the password is unavailable, and the error says why."""
    with redis_server(tmp_path) as server:
        async with Redis.from_url(server.url) as admin:
            await admin.config_set("requirepass", "nest")
        address = server.url.replace("://", f"://{login}")
        async with open_redis(address) as connections:
            for asked in (connections.commands.execute("PING"), connections.ping()):
                with pytest.raises(CacheUnavailable) as refused:
                    await asked
                assert type(root_of(refused.value)) is AuthenticationError


async def test_a_server_that_hangs_costs_one_time_out(tmp_path: Path) -> None:
    """Each command has its own timeout while the server hangs."""
    with redis_server(tmp_path) as server:
        async with opened(server.port, timeout_seconds=0.3) as trips:
            await trips.execute(("PING",))
            server.freeze()
            began = asyncio.get_running_loop().time()
            ends = await asyncio.gather(
                *(trips.execute(("INCR", "hits")) for _ in range(30)),
                return_exceptions=True,
            )
            took = asyncio.get_running_loop().time() - began
            server.thaw()

            assert [type(end) for end in ends] == [RedisTimedOut] * 30
            # One after the other they would take nine seconds.
            assert 0.3 <= took < 5
            # Sent once each: a thawed Redis has counted thirty, and not sixty.
            assert await trips.execute(("GET", "hits")) in {None, b"30"}


async def test_errors_belong_to_their_own_command(
    server: RedisServer, redis: Redis
) -> None:
    """An error of one command does not affect its neighbours."""
    await redis.set("text", "gull")
    async with opened(server.port) as trips:
        ends = await asyncio.gather(
            trips.execute(("EVALSHA", "0" * 40, 0)),
            trips.execute(("ECHO", "one")),
            trips.execute(("LPUSH", "text", "x")),
            trips.execute(("ECHO", "two")),
            return_exceptions=True,
        )

    assert type(ends[0]) is NoScriptError
    assert type(ends[2]) is ResponseError
    assert [ends[1], ends[3]] == [b"one", b"two"]


async def test_a_full_redis_refuses_writes_and_answers_reads(tmp_path: Path) -> None:
    """A full Redis fails writes and answers reads in the same batch."""
    with redis_server(tmp_path) as server:
        async with opened(server.port) as trips:
            await trips.execute(("SET", "gull", "nest"))
            await trips.execute(("CONFIG", "SET", "maxmemory", "1"))
            ends = await asyncio.gather(
                trips.execute(("GET", "gull")),
                trips.execute(("INCR", "hits")),
                trips.execute(("GET", "gull")),
                return_exceptions=True,
            )

    assert [ends[0], ends[2]] == [b"nest", b"nest"]
    assert type(ends[1]) is OutOfMemoryError


async def test_a_silent_connection_is_not_trusted(
    server: RedisServer, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a long silence a new connection is used."""
    async with opened(server.port) as trips:
        await trips.execute(("PING",))
        (first,) = await connections_of(redis)
        monkeypatch.setattr(wire, "TRUSTED_FOR_SECONDS", 0.0)

        await trips.execute(("PING",))
        await trips.execute(("PING",))

        ids = {one["id"] for one in await connections_of(redis)}
        assert first["id"] not in ids


async def test_closing_fails_waiting_commands(server: RedisServer) -> None:
    """Closing fails all waiting commands."""
    async with opened(server.port) as trips:
        await trips.execute(("PING",))
        waiting = asyncio.ensure_future(trips.execute(("BLPOP", "silent", 0)))
        await trips_are_sent()
        await trips.aclose()

        with pytest.raises(RedisCut):
            await waiting


async def test_commands_of_the_service_share_round_trips(
    server: RedisServer, redis: Redis
) -> None:
    """Many look-ups at once use one connection of the server."""
    async with open_redis(server.url) as connections:
        script = Script.of(f"#!lua\n{ECHO}")
        answers = await asyncio.gather(
            *(
                connections.commands.run(script, ["{gull}"], [number])
                for number in range(200)
            )
        )

        assert answers == [b"%d" % number for number in range(200)]
        named = [one["name"] for one in await connections_of(redis)]
        assert named == ["paintonce-commands"]


async def test_a_full_redis_is_no_outage(tmp_path: Path) -> None:
    """A full Redis raises `CacheFull`, and the breaker stays closed."""
    with redis_server(tmp_path) as server:
        async with open_redis(server.url) as connections:
            await connections.commands.execute("SET", "gull", "nest")
            await connections.commands.execute("CONFIG", "SET", "maxmemory", "1")

            with pytest.raises(CacheFull):
                await connections.commands.execute("INCR", "hits")

            assert not connections.breaker.is_open
            assert await connections.commands.execute("GET", "gull") == b"nest"


async def test_too_many_at_once_are_refused(
    server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beyond the bound a command is refused before it is sent."""
    monkeypatch.setattr(pipeline, "MAX_WAITING", 3)
    async with open_redis(server.url) as connections:
        ends = await asyncio.gather(
            *(connections.commands.execute("ECHO", "gull") for _ in range(5)),
            return_exceptions=True,
        )

    assert ends[:3] == [b"gull"] * 3
    assert [type(end) for end in ends[3:]] == [CacheUnavailable] * 2
