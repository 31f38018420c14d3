"""Replicas doubt the data of a Redis whose data did not begin in its run."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
import redis

from app.storage.redis import keys
from app.storage.redis.client import handshake
from app.storage.redis.client.failures import CacheFull
from app.storage.redis.client.traffic import open_redis
from tests.servers import redis_server
from tests.until import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Iterator
    from pathlib import Path

    from app.storage.redis.client.traffic import RedisConnections
    from tests.servers import RedisServer


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    """Run a Redis that a test may restart."""
    with redis_server(tmp_path / "redis") as running:
        yield running


@pytest.fixture
def client(server: RedisServer) -> Iterator[redis.Redis]:
    """Give a client of an operator."""
    with redis.Redis.from_url(server.url) as opened:
        yield opened


@asynccontextmanager
async def started(url: str) -> AsyncIterator[RedisConnections]:
    """Open the connections of a replica, and send the first command."""
    async with open_redis(url) as connections:
        await connections.commands.execute("EXISTS", "gull")
        yield connections


async def doubts(url: str) -> int:
    """Return the doubts of a replica that has just started."""
    async with started(url) as connections:
        return connections.runs.doubts


def is_restored(server: RedisServer, client: redis.Redis) -> None:
    """Restart the server from a snapshot."""
    client.save()
    server.kill()
    server.start()


async def test_data_of_one_run_is_believed(
    server: RedisServer, client: redis.Redis
) -> None:
    """Replicas that start one after the other believe the data of an unbroken run."""
    assert await doubts(server.url) == 0
    client.set("gull", "nest")

    assert await doubts(server.url) == 0


async def test_a_restored_redis_is_doubted_by_all(
    server: RedisServer, client: redis.Redis
) -> None:
    """Replicas that start after a restore doubt the data, like those before it."""
    async with started(server.url) as before:
        is_restored(server, client)
        await until(lambda: is_answered(before))

        assert before.runs.doubts == 1
    assert [await doubts(server.url) for _ in range(2)] == [1, 1]


async def is_answered(connections: RedisConnections) -> bool:
    """Return whether a command is answered."""
    try:
        await connections.commands.execute("EXISTS", "gull")
    except Exception:  # noqa: BLE001 - the server is still starting
        return False
    return True


async def test_data_whose_beginning_is_unknown_is_doubted(
    server: RedisServer, client: redis.Redis
) -> None:
    """Data of an earlier release, or from after a FLUSHALL, is doubted by all."""
    client.set("gull", "nest")

    assert [await doubts(server.url) for _ in range(2)] == [1, 1]


async def test_an_emptied_redis_begins_anew(
    server: RedisServer, client: redis.Redis
) -> None:
    """A restored Redis that is emptied is believed again."""
    assert await doubts(server.url) == 0
    is_restored(server, client)
    client.flushall()

    assert [await doubts(server.url) for _ in range(2)] == [0, 0]


async def test_a_replica_keeps_the_beginning_through_a_flush(
    server: RedisServer, client: redis.Redis
) -> None:
    """After a FLUSHALL a replica that believes the data says so to later ones."""
    async with started(server.url) as running:
        client.flushall()
        client.set("gull", "nest")
        assert await doubts(server.url) == 1
        await running.ping()

        assert await doubts(server.url) == 0
        is_restored(server, client)
        client.delete(keys.BEGAN)
        await until(lambda: is_answered(running))
        await running.ping()

    assert await doubts(server.url) == 1


async def test_a_redis_without_snapshots_begins_anew(server: RedisServer) -> None:
    """A Redis that comes back empty is believed by old and new replicas."""
    async with started(server.url) as before:
        server.kill()
        server.start()
        await until(lambda: is_answered(before))
        await before.commands.execute("SET", "gull", "nest")

        assert before.runs.doubts == 0
        assert await doubts(server.url) == 0


async def test_replicas_that_start_at_once_agree(
    server: RedisServer, client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Replicas that find an empty Redis at once all believe its data.

    1. Both have asked for the run. 2. One says that the data begins in it, and
    writes. 3. The other one says so.
    """
    both, ask = asyncio.Barrier(2), handshake._data
    first = asyncio.Lock()

    async def together(answer: Awaitable[Any]) -> str:
        await both.wait()
        async with first:
            told = await ask(answer)
            client.set("gull", "nest")
        return told

    monkeypatch.setattr(handshake, "_data", together)

    assert list(await asyncio.gather(*map(doubts, [server.url] * 2))) == [0, 0]


async def test_no_command_is_sent_before_the_answer(
    server: RedisServer, client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first commands of all connections wait until the data is known."""
    client.set("gull", "nest")
    is_asked, may_ask = asyncio.Event(), asyncio.Event()
    ask = handshake._data

    async def slowly(answer: Awaitable[Any]) -> str:
        is_asked.set()
        await may_ask.wait()
        return await ask(answer)

    monkeypatch.setattr(handshake, "_data", slowly)
    async with open_redis(server.url) as connections:
        kinds = (
            *(connections.commands, connections.leases),
            *(connections.slices, connections.blobs),
        )
        asked = [asyncio.create_task(kind.execute("GET", "gull")) for kind in kinds]
        await is_asked.wait()
        sent = client.info("commandstats")
        may_ask.set()

        assert await asyncio.gather(*asked) == [b"nest"] * 4
        assert "cmdstat_get" not in sent
        assert connections.runs.doubts == 1


@pytest.mark.parametrize("has_data", [False, True])
async def test_a_full_redis_is_believed_where_it_is_empty(
    server: RedisServer, client: redis.Redis, *, has_data: bool
) -> None:
    """A full Redis is believed where it is empty; its commands go on."""
    if has_data:
        client.set("gull", "nest")
    client.config_set("maxmemory", 1)

    async with started(server.url) as connections:
        assert connections.runs.doubts == int(has_data)
        with pytest.raises(CacheFull):
            await connections.commands.execute("SET", "gull", "egg")
    assert await doubts(server.url) == int(has_data)


@pytest.mark.parametrize(
    ("refused", "expected"), [("info", 0), ("dbsize", 1), ("eval", 1), ("hset", 1)]
)
async def test_what_redis_does_not_tell_is_doubted(
    server: RedisServer, client: redis.Redis, refused: str, expected: int
) -> None:
    """Without a right to ask the data is doubted; without INFO there are no runs."""
    client.acl_setuser(
        "gull",
        enabled=True,
        passwords=["+nest"],
        keys=["*"],
        channels=["*"],
        categories=["+@all"],
        commands=[f"-{refused}"],
    )
    url = server.url.replace("redis://", "redis://gull:nest@")

    assert await doubts(url) == expected


async def test_a_primary_that_was_away_is_another_run(
    server: RedisServer, client: redis.Redis, tmp_path: Path
) -> None:
    """A primary that followed another one meanwhile is doubted, in the same process."""
    assert await doubts(server.url) == 0
    client.config_set("repl-diskless-sync-delay", 0)
    client.set("gull", "nest")
    with redis_server(tmp_path / "second") as second:
        with redis.Redis.from_url(second.url) as other:
            await _follows(other, server)
            other.replicaof("NO", "ONE")
            other.config_set("repl-diskless-sync-delay", 0)
            assert await doubts(second.url) == 1
            await _follows(client, second)
        client.replicaof("NO", "ONE")

    assert await doubts(server.url) == 1


async def _follows(client: redis.Redis, server: RedisServer) -> None:
    """Make a server copy another one; return once both are the same."""
    client.replicaof("127.0.0.1", server.port)

    def is_up() -> bool:
        return bool(client.info("replication")["master_link_status"] == "up")

    await until(is_up)


async def test_the_reason_is_in_the_log(
    server: RedisServer, client: redis.Redis, caplog: pytest.LogCaptureFixture
) -> None:
    """One line of the log says why entries are compared."""
    caplog.set_level("INFO")
    assert await doubts(server.url) == 0
    is_restored(server, client)
    await doubts(server.url)

    (line,) = [one for one in caplog.records if one.message.startswith("redis may")]
    assert line.data == "began in another run"  # type: ignore[attr-defined]
    assert client.hgetall(keys.BEGAN).keys() == {b""}
