"""Overload: calls paid, kept and refused under more load than fits.

A replica gets requests for new pictures at a fraction or a multiple of what its model
can paint. The vendor takes 10 s or 60 s for a picture, give or take a fifth. All times,
including the service's bounds, are divided by the same number.
"""

from __future__ import annotations

import asyncio
import base64
import itertools
import math
import random
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median, quantiles
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import aiohttp
from aiohttp import web

from tests.fake_provider import pictures
from tests.replica import environment_of, replica
from tests.servers import free_port, object_store_server, redis_server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

LOADS = (0.5, 1.0, 1.5, 2.0, 4.0)
CONCURRENCY, QUEUE = 8, 64
TIMEOUT_SECONDS, DEADLINE_SECONDS = 600.0, 300.0
PRICE = 0.05
_SPREAD = 0.2
_MODELS = """\
[models.default]
provider = "openai"
model = "gpt-image-2"
base_url = "http://127.0.0.1:{port}/v1"
api_key_env = ""
price = {price}
concurrency = {concurrency}
queue = {queue}
deadline_seconds = {deadline}
"""


@dataclass(frozen=True, slots=True)
class Case:
    """A vendor of *seconds* a picture; times are divided by *scale*.

    The load lasts for *lasts* seconds of the clock.
    """

    seconds: float
    scale: float
    lasts: float

    @property
    def capacity(self) -> float:
        """The pictures a second that the model can paint."""
        return CONCURRENCY * self.scale / self.seconds


CASES = (Case(10.0, 2.0, 60.0), Case(60.0, 30.0, 60.0))
TINY_CASES = (Case(10.0, 50.0, 1.0),)


@dataclass
class Vendor:
    """Paints after a delay; counts its calls and its working time."""

    case: Case
    paid: int = 0
    busy_seconds: float = 0.0
    _random: random.Random = field(default_factory=lambda: random.Random(7))

    async def paint(self, _request: web.Request) -> web.Response:
        """Answer with a new picture."""
        self.paid += 1
        number = self.paid
        usual = self.case.seconds / self.case.scale
        seconds = usual * math.exp(self._random.gauss(0.0, _SPREAD))
        clock = asyncio.get_running_loop().time
        began = clock()
        await asyncio.sleep(seconds)
        self.busy_seconds += clock() - began
        encoded = base64.b64encode(
            pictures.paint(number=number, prompt="overload")
        ).decode()
        return web.json_response({"data": [{"b64_json": encoded}]})

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[int]:
        """Serve on a free port while the context is open."""
        application = web.Application()
        application.router.add_post("/v1/images/generations", self.paint)
        runner = web.AppRunner(application, access_log=None)
        await runner.setup()
        port = free_port()
        await web.TCPSite(runner, "127.0.0.1", port).start()
        try:
            yield port
        finally:
            await runner.cleanup()


@dataclass(frozen=True, slots=True)
class Found:
    """The result of one load; waits are in seconds before scaling."""

    case: Case
    load: float
    asked: int
    paid: int
    kept: int
    refused: int
    failed: int
    used: float
    wait_median: float
    wait_90: float
    refusal_90: float

    @property
    def lost(self) -> float:
        """The share of paid pictures that no caller got."""
        return 1 - self.kept / self.paid if self.paid else 0.0


async def measure(*, tiny: bool = False) -> list[Found]:
    """Return the results of every load with every vendor."""
    found = []
    for case in TINY_CASES if tiny else CASES:
        for load in LOADS[-1:] if tiny else LOADS:
            found.append(await _measured(case, load))
            print(row(found[-1]), flush=True)
    return found


async def _measured(case: Case, load: float) -> Found:
    vendor = Vendor(case)
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory()))
        port = await stack.enter_async_context(vendor.serving())
        models = folder / "models.toml"
        models.write_text(
            _MODELS.format(
                port=port,
                price=PRICE,
                concurrency=CONCURRENCY,
                queue=QUEUE,
                deadline=DEADLINE_SECONDS / case.scale,
            )
        )
        store = stack.enter_context(object_store_server(folder / "store"))
        redis = stack.enter_context(redis_server(folder / "redis"))
        environment = environment_of(
            redis_url=redis.url,
            bucket="paintonce-overload",
            object_store=store.environment(),
            PROVIDERS_FILE=str(models),
            GENERATION_TIMEOUT_SECONDS=str(TIMEOUT_SECONDS / case.scale),
            WAIT_TIMEOUT_SECONDS=str(TIMEOUT_SECONDS / case.scale),
        )
        running = await stack.enter_async_context(
            replica(environment, folder=folder, forked=False)
        )
        session = await stack.enter_async_context(
            aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))
        )
        # A replica that has painted before knows how long a call takes.
        await asyncio.gather(
            *(_ask(session, running.url, f"first {n}") for n in range(CONCURRENCY))
        )
        vendor.paid, vendor.busy_seconds = 0, 0.0
        asked = _Asked(session, running.url, case, load)
        await asked.run()
        busy = vendor.busy_seconds
    return asked.found(vendor.paid, busy)


@dataclass
class _Asked:
    """An open load: new requests do not wait for earlier ones."""

    session: aiohttp.ClientSession
    url: str
    case: Case
    load: float
    answers: list[tuple[int, float]] = field(default_factory=list)
    took: float = 0.0

    async def run(self) -> None:
        """Send requests at random times for *lasts* seconds; collect every answer."""
        clock = asyncio.get_running_loop().time
        chance = random.Random(11)
        rate = self.load * self.case.capacity
        began, at = clock(), clock()
        tasks = []
        for number in itertools.count():
            at += chance.expovariate(rate)
            if at - began > self.case.lasts:
                break
            await asyncio.sleep(max(0.0, at - clock()))
            tasks.append(asyncio.create_task(self._one(number)))
        await asyncio.gather(*tasks)
        self.took = clock() - began

    async def _one(self, number: int) -> None:
        clock = asyncio.get_running_loop().time
        began = clock()
        status = await _ask(self.session, self.url, f"a picture, {number}")
        self.answers.append((status, (clock() - began) * self.case.scale))

    def found(self, paid: int, busy_seconds: float) -> Found:
        """Return the figures."""
        waits = {
            status: [wait for one, wait in self.answers if one == status]
            for status in {status for status, _ in self.answers} | {200, 429}
        }
        kept, refused = len(waits[200]), len(waits[429])
        return Found(
            case=self.case,
            load=self.load,
            asked=len(self.answers),
            paid=paid,
            kept=kept,
            refused=refused,
            failed=len(self.answers) - kept - refused,
            used=busy_seconds / (CONCURRENCY * self.took),
            wait_median=median(waits[200] or [0.0]),
            wait_90=_nine_of_ten(waits[200]),
            refusal_90=_nine_of_ten(waits[429]),
        )


async def _ask(session: aiohttp.ClientSession, url: str, prompt: str) -> int:
    address = f"{url}/api/v1/live/generate"
    async with session.get(address, params={"prompt": prompt}) as answer:
        await answer.read()
        return answer.status


def _nine_of_ten(waits: list[float]) -> float:
    return quantiles(waits, n=10)[-1] if len(waits) > 1 else sum(waits)


HEAD = (
    "| vendor | load | asked | paid | kept | lost | refused free | other | "
    "capacity used | wait, median | wait, 9 of 10 | refusal, 9 of 10 |\n"
    "|---|---|---|---|---|---|---|---|---|---|---|---|"
)


def row(found: Found) -> str:
    """Return one line of the printed table."""
    cells = (
        f"{found.case.seconds:.0f} s",
        f"{found.load:g}",
        f"{found.asked}",
        f"{found.paid}",
        f"{found.kept}",
        f"{found.lost:.1%}",
        f"{found.refused}",
        f"{found.failed}",
        f"{found.used:.0%}",
        f"{found.wait_median:.0f} s",
        f"{found.wait_90:.0f} s",
        f"{found.refusal_90:.1f} s",
    )
    return f"| {' | '.join(cells)} |"
