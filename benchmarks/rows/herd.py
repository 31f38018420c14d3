"""Row 7: many clients request the same new picture at once."""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack
from functools import partial
from typing import TYPE_CHECKING, cast

from redis.asyncio import Redis

from app.storage.redis import keys
from benchmarks.figures import Line, Measure, alternate, single
from benchmarks.load import Load
from benchmarks.stage import HEADERS, PICTURE_BYTES, target_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.stage import Stage
    from tests.replica import Replica

REPLICAS, CLIENTS = 4, 1000
# For the last of the requests to be parked behind the painting.
SETTLES_SECONDS = 1.5


async def one_prompt_at_once(stage: Stage) -> list[Line]:
    """Row 7: calls of the provider, and the last answer after the commit."""
    calls: dict[str, list[int]] = {}
    lines = []
    async with AsyncExitStack() as stack:
        measures: dict[str, Measure] = {}
        for source in stage.sources:
            replicas = [
                await stack.enter_async_context(
                    stage.service(source, cores=stage.cores.everything)
                )
                for _ in range(2 if stage.tiny else REPLICAS)
            ]
            calls[source.label] = []
            measures[source.label] = _measure(stage, replicas, calls[source.label])
        figures = await alternate(measures, rounds=stage.rounds, seconds=1.0)
    what = (
        f"{_clients(stage)} requests for one new prompt over {len(replicas)} replicas"
    )
    for name, values in figures.items():
        lines += [
            single(
                "7",
                f"{what}: calls of the provider",
                calls[name],
                unit="calls",
                at_most=1,
                note=name,
            ),
            single(
                "7",
                f"{what}: the last answer after the commit",
                values,
                unit="ms",
                at_most=250.0,
                note=name,
            ),
        ]
    return lines


def _clients(stage: Stage) -> int:
    return 40 if stage.tiny else CLIENTS


def _measure(stage: Stage, replicas: Sequence[Replica], calls: list[int]) -> Measure:
    async def measure(_seconds: float) -> float:
        prompt = f"a lighthouse in a new light, {time.time_ns()}"
        last_ms = await _herd(stage, replicas, prompt)
        calls.append(stage.provider.count(prompt))
        return last_ms

    return measure


async def _herd(stage: Stage, replicas: Sequence[Replica], prompt: str) -> float:
    """Return the milliseconds from the commit to the end of the last answer."""
    loop = asyncio.get_running_loop()
    stage.provider.behave("hold", prompt=prompt, picture_bytes=PICTURE_BYTES)
    clients = []
    for number in range(_clients(stage)):
        replica = replicas[number % len(replicas)]
        load = Load(replica.url, (target_of(prompt),), HEADERS)
        made = partial(_Client, load.request(load.targets[0]), loop.create_future())
        _, client = await loop.create_connection(made, "127.0.0.1", replica.port)
        clients.append(client)
    for client in clients:
        client.ask()
    await stage.provider.until_held()
    await asyncio.sleep(SETTLES_SECONDS)
    async with Redis.from_url(stage.redis.url) as redis, redis.pubsub() as news:
        await news.subscribe(keys.LANDED)
        stage.provider.release(prompt)
        # COMMIT tells of the entry in the same step in which it writes it.
        while (await news.get_message(timeout=10) or {}).get("type") != "message":
            pass
        committed = loop.time()
        ends = await asyncio.gather(*(client.ended for client in clients))
    for client in clients:
        client.close()
    return (max(ends) - committed) * 1000


class _Client(asyncio.Protocol):
    """One request; *ended* becomes the time at which its whole answer was there."""

    def __init__(self, request: bytes, ended: asyncio.Future[float]) -> None:
        self._request = request
        self._head = b""
        self._left = -1
        self.ended = ended

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.WriteTransport", transport)

    def ask(self) -> None:
        self._transport.write(self._request)

    def close(self) -> None:
        self._transport.close()

    def data_received(self, data: bytes) -> None:
        if self._left < 0:
            self._head += data
            head, end, data = self._head.partition(b"\r\n\r\n")
            if not end:
                return
            length = head.lower().partition(b"content-length: ")[2].split()[0]
            self._left = int(length)
            if not head.startswith(b"HTTP/1.1 200"):
                self.ended.set_exception(RuntimeError((head + data).decode()))
        self._left -= len(data)
        if self._left == 0 and not self.ended.done():
            self.ended.set_result(asyncio.get_running_loop().time())

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.ended.done():
            self.ended.set_exception(exc or ConnectionResetError())
