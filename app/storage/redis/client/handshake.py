"""The handshake of each connection, before its first command.

It asks which run of the server answers, and whether the data began in this run. So
no reply of an older Redis is taken for one of the Redis that was there before.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from redis.exceptions import ClusterDownError, ReadOnlyError, ResponseError

from app.storage.redis import keys
from app.storage.redis.client.server_runs import (
    ANOTHER_RUN,
    BEGIN,
    NOT_TOLD,
    SAME_RUN,
    run_in,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from redis.asyncio.cluster import ClusterNode
    from redis.asyncio.connection import AbstractConnection, Connection

    from app.storage.redis.client.server_runs import ServerRuns

# In the answer of a Cluster's node that follows another one.
_FOLLOWS = "role:slave"


class ServerHandshake:
    """The handshake with the only server, or with the primary that Sentinel names."""

    def __init__(self, runs: ServerRuns) -> None:
        self._runs = runs

    async def perform(self, connection: AbstractConnection) -> None:
        """Log in, and note the run of the server and what is known of its data.

        Raises redis-py's errors. A server that refuses INFO has no run.
        """
        await connection.on_connect()
        run = run_in(await _info(connection))
        if run and self._runs.of("") != run:
            command = ("EVAL", BEGIN.source, 1, keys.BEGAN, "", "", run)
            data = await _data(_answer(connection, *command))
            self._runs.note("", run, data)


class ClusterHandshake:
    """The handshake with the nodes of a Cluster; their data is in doubt as one."""

    def __init__(self, runs: ServerRuns) -> None:
        self._runs = runs
        self._in_turn = asyncio.Lock()
        self._has_looked_before = False
        self.has_looked = False

    async def perform(self, connection: Connection) -> None:
        """Log in, and note the run of the node, unless it follows another one.

        Raises redis-py's errors. A run that is new after `look_at_data` is in doubt.
        """
        await connection.on_connect()
        info = await _info(connection)
        run, node = run_in(info), f"{connection.host}:{connection.port}"
        before = self._runs.of(node)
        if not run or run == before or _FOLLOWS in info:
            return
        is_another = before or self._has_looked_before
        self._runs.note(node, run, ANOTHER_RUN if is_another else SAME_RUN)
        self.has_looked = False

    async def look_at_data(
        self, primaries: Sequence[ClusterNode], execute: Callable[..., Awaitable[Any]]
    ) -> None:
        """Note what is known of the data of all *primaries*."""
        async with self._in_turn:
            if self.has_looked:
                return
            data = await self._data_of(primaries, execute)
            if data != SAME_RUN and not self._runs.doubts:
                self._runs.doubt(data)
            self._has_looked_before = self.has_looked = True

    async def _data_of(
        self, primaries: Sequence[ClusterNode], execute: Callable[..., Awaitable[Any]]
    ) -> str:
        # It connects to each, and so learns its run before its number of keys.
        sizes = await asyncio.gather(
            *(node.execute_command("DBSIZE") for node in primaries),
            return_exceptions=True,
        )
        runs = [(node.name, self._runs.of(node.name)) for node in primaries]
        if not any(run for _, run in runs):
            return SAME_RUN
        counts = [size for size in sizes if isinstance(size, int)]
        if len(counts) < len(sizes):
            return NOT_TOLD
        command = ("EVAL", BEGIN.source, 1, keys.BEGAN, sum(counts))
        return await _data(execute(*command, *(part for one in runs for part in one)))


async def _info(connection: AbstractConnection) -> str:
    """Return the INFO of the server; empty where that is refused."""
    try:
        info = await _answer(connection, "INFO", "server", "replication")
    except ResponseError:
        return ""
    return str(info.decode())


async def _data(answer: Awaitable[Any]) -> str:
    """Return the verdict of the script about the data, from its *answer*."""
    try:
        return str((await answer).decode())
    except (ReadOnlyError, ClusterDownError):
        # An outage: no primary any more, or a Cluster that looks for its own.
        raise
    except ResponseError:
        return NOT_TOLD


async def _answer(connection: AbstractConnection, *command: Any) -> Any:
    await connection.send_command(*command, check_health=False)
    return await connection.read_response()
