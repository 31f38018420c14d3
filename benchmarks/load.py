"""Load: connections that send the next request once they are answered."""

from __future__ import annotations

import asyncio
import json
import random
import shutil
import time
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, cast

import aiohttp
from yarl import URL

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

    from benchmarks.figures import Name

CONNECTIONS = 32
TIMEOUT_SECONDS = 10
_SCRIPT = Path(__file__).with_name("wrk.lua")


class LoadFailed(RuntimeError):
    """Requests failed or were refused, so their rate is meaningless."""


@dataclass(frozen=True, slots=True)
class Load:
    """Requests for *targets* of one server, chosen at random."""

    origin: str
    targets: tuple[str, ...]
    headers: Mapping[str, str] = field(default_factory=dict)
    method: str = "GET"
    body: bytes = b""

    async def run(self, seconds: float) -> float:
        """Send requests for about *seconds*; return the requests per second."""
        count, took = await self.count(seconds)
        return count / took

    async def count(self, seconds: float) -> tuple[int, float]:
        """Send requests for about *seconds*; return the number of answers and the time.

        Raises `LoadFailed` if a single request fails.
        """
        measure = self._run_wrk if shutil.which("wrk") else self._run_here
        count, took, errors = await measure(seconds)
        if not count and not errors:
            # A busy machine may answer none in half a second.
            count, took, errors = await measure(10 * seconds)
        if errors or not count:
            raise LoadFailed(f"{errors} of {count} requests to {self.targets[0]}")
        return count, took

    async def _run_wrk(self, seconds: float) -> tuple[int, float, int]:
        with TemporaryDirectory() as folder:
            targets, body = self._written(Path(folder))
            process = await asyncio.create_subprocess_exec(
                *("wrk", "-t1", f"-c{CONNECTIONS}", f"-d{max(1, round(seconds))}"),
                *("--timeout", str(TIMEOUT_SECONDS), "-s", str(_SCRIPT)),
                *(f"-H{name}: {value}" for name, value in self.headers.items()),
                *(self.origin, "--", str(targets), self.method),
                str(body) if self.body else "",
                stdout=asyncio.subprocess.PIPE,
            )
            said, _ = await process.communicate()
        told = json.loads(said.splitlines()[-1])
        return told["requests"], told["seconds"], told["errors"]

    def _written(self, folder: Path) -> tuple[Path, Path]:
        targets, body = folder / "targets", folder / "body"
        targets.write_text("\n".join(self.targets) + "\n")
        body.write_bytes(self.body)
        return targets, body

    async def _run_here(self, seconds: float) -> tuple[int, float, int]:
        loop = asyncio.get_running_loop()
        url = URL(self.origin)
        place = (url.host or "", url.port or 80)
        prepared = [self.request(target) for target in self.targets]
        clients = [
            (await loop.create_connection(partial(_Client, prepared), *place))[1]
            for _ in range(CONNECTIONS)
        ]
        began = time.perf_counter()
        for client in clients:
            client.ask()
        await asyncio.sleep(seconds)
        took = time.perf_counter() - began
        for client in clients:
            client.close()
        count = sum(client.answered for client in clients)
        return count, took, sum(client.failed for client in clients)

    async def ask_each_once(self) -> None:
        """Request each target once, so that the server has it in memory."""
        waiting = iter(self.targets)

        async def ask(session: aiohttp.ClientSession) -> None:
            for target in waiting:
                url = URL(self.origin + target, encoded=True)
                async with session.get(url, headers=self.headers) as answer:
                    answer.raise_for_status()
                    await answer.read()

        async with aiohttp.ClientSession() as session:
            await asyncio.gather(*(ask(session) for _ in range(CONNECTIONS)))

    def request(self, target: str) -> bytes:
        """Return the bytes of one request."""
        own = {"Host": str(URL(self.origin).authority), **self.headers}
        if self.body:
            own["Content-Length"] = str(len(self.body))
        lines = [f"{name}: {value}\r\n" for name, value in own.items()]
        head = f"{self.method} {target} HTTP/1.1\r\n{''.join(lines)}\r\n"
        return head.encode() + self.body


class _Client(asyncio.Protocol):
    """A connection that parses just enough of HTTP to find the ends of answers."""

    def __init__(self, requests: list[bytes]) -> None:
        self._requests = requests
        self._head = b""
        self._left = -1
        self._is_closed = False
        self.answered = self.failed = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.WriteTransport", transport)

    def ask(self) -> None:
        self._head, self._left = b"", -1
        self._transport.write(random.choice(self._requests))

    def close(self) -> None:
        self._is_closed = True
        self._transport.close()

    def data_received(self, data: bytes) -> None:
        if self._left < 0:
            self._head += data
            head, end, rest = self._head.partition(b"\r\n\r\n")
            if not end:
                return
            self._left, data = self._length(head), rest
        self._left -= len(data)
        if self._left == 0 and not self._is_closed:
            self.answered += 1
            self.ask()

    def _length(self, head: bytes) -> int:
        status, *lines = head.lower().split(b"\r\n")
        self.failed += status.split()[1] >= b"400"
        named = dict(line.split(b":", 1) for line in lines)
        has_body = status.split()[1] != b"304"
        return int(named.get(b"content-length", b"0")) if has_body else 0

    def connection_lost(self, exc: Exception | None) -> None:
        self.failed += not self._is_closed or exc is not None


async def one_at_a_time(
    loads: Mapping[Name, Load], *, rounds: int, seconds: float
) -> dict[Name, list[float]]:
    """Return the median milliseconds of each round, for single requests."""
    figures: dict[Name, list[float]] = {name: [] for name in loads}
    async with taking_turns(loads) as turns:
        for _ in range(rounds):
            for name, took in (await turns(seconds)).items():
                figures[name].append(median(took))
    return figures


@asynccontextmanager
async def taking_turns(
    loads: Mapping[Name, Load],
) -> AsyncIterator[Callable[[float], Awaitable[dict[Name, list[float]]]]]:
    """Open a connection to each of *loads*; yield a function that measures in turn.

    It sends one request at a time, to each load in turn, so that other work of the
    machine affects all of them alike. It returns the milliseconds of each.
    """
    async with AsyncExitStack() as stack:
        lines = {
            name: await stack.enter_async_context(_line(load))
            for name, load in loads.items()
        }

        async def turns(seconds: float) -> dict[Name, list[float]]:
            took: dict[Name, list[float]] = {name: [] for name in loads}
            end = time.perf_counter() + seconds * len(loads)
            while time.perf_counter() < end:
                for name, ask in lines.items():
                    took[name].append(await ask())
            return took

        yield turns


@asynccontextmanager
async def _line(load: Load) -> AsyncIterator[Callable[[], Awaitable[float]]]:
    """Open a connection; yield a function that returns a request's milliseconds."""
    host, port = load.origin.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    requests = [load.request(target) for target in load.targets]

    async def ask() -> float:
        request = random.choice(requests)
        began = time.perf_counter()
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        length = head.lower().partition(b"content-length: ")[2].partition(b"\r")[0]
        await reader.readexactly(int(length or 0))
        return (time.perf_counter() - began) * 1000

    try:
        yield ask
    finally:
        writer.close()
        await writer.wait_closed()
