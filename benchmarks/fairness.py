"""Fairness: a customer's HITs and MISSes beside 600 connections of strangers.

One customer sends requests to a replica that asks for keys, first alone and then beside
each kind of strangers: visitors of a closed scope, visitors of a scope whose limit is
used up, and clients with invalid keys. Each of the 600 connections sends a new request
twice a second, from an address and a process of its own.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import sys
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import aiohttp

from tests.fake_provider import FakeProvider
from tests.fake_provider import serve as serve_vendor
from tests.replica import environment_of, replica
from tests.servers import object_store_server, redis_server

if TYPE_CHECKING:
    from tests.replica import Replica

SECONDS, TINY_SECONDS = 10.0, 1.0
GOAL = 2.0
LIVE, SCOPES = "/api/v1/live/generate", "/api/v1/live/scopes"
ADMIN_KEY = "the-benchmarks-own-admin-key-3141592653"
CUSTOMER = {"X-API-Key": ADMIN_KEY, "X-Project": "acme/shop"}
PAUSE_SECONDS, BEGINS_WITHIN_SECONDS = 0.05, 2.0
# Vendors take seconds; the shorter this is, the more the service's own part counts.
VENDOR_SECONDS = 0.1
PICTURE_BYTES = 200_000
_MODELS = """
[models.default]
provider = "openai"
model = "gpt-image-2"
base_url = "{origin}/v1"
api_key_env = ""
price = 0.04
"""
_numbers = itertools.count()


@dataclass(frozen=True, slots=True)
class Flood:
    """One kind of strangers: the path and the kind of their requests."""

    name: str
    path: str
    kind: str


FLOODS = (
    Flood("a closed scope", "/live/acme/shop/closed", "visitor"),
    Flood("a scope that is used up", "/live/acme/shop/used-up", "visitor"),
    Flood("unknown keys", LIVE, "wrong-key"),
)


@dataclass(frozen=True, slots=True)
class Found:
    """The medians of a customer, in seconds, without and with strangers."""

    flood: Flood
    hit: tuple[float, float]
    miss: tuple[float, float]
    answers: dict[str, int]
    load: float

    @property
    def worst(self) -> float:
        """The larger ratio of a time with strangers to the one without."""
        return max(beside / alone for alone, beside in (self.hit, self.miss))


async def measure(*, tiny: bool = False) -> list[Found]:
    """Return the customer's figures beside each kind of strangers."""
    found = []
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory()))
        vendor = FakeProvider()
        vendor.behave(delay_seconds=VENDOR_SECONDS, picture_bytes=PICTURE_BYTES)
        origin = await stack.enter_async_context(serve_vendor(vendor))
        (folder / "models.toml").write_text(_MODELS.format(origin=origin))
        store = stack.enter_context(object_store_server(folder / "store"))
        redis = stack.enter_context(redis_server(folder / "redis"))
        environment = environment_of(
            redis_url=redis.url,
            bucket="paintonce-fairness",
            object_store=store.environment(),
            PROVIDERS_FILE=str(folder / "models.toml"),
            AUTH="required",
            ADMIN_API_KEY=ADMIN_KEY,
            TRUSTED_PROXIES="127.0.0.0/8",
        )
        running = await stack.enter_async_context(
            replica(environment, folder=folder, forked=False)
        )
        session = await stack.enter_async_context(
            aiohttp.ClientSession(running.url, headers=CUSTOMER)
        )
        for name, body in (("closed", {"allow_new": False}), ("used-up", {"limit": 0})):
            async with session.put(f"{SCOPES}/{name}", json=body) as made:
                made.raise_for_status()
        seconds = TINY_SECONDS if tiny else SECONDS
        await _customer(session, TINY_SECONDS)
        for flood in FLOODS:
            found.append(await _measured(running, session, flood, seconds))
            print(row(found[-1]), flush=True)
    return found


async def _measured(
    running: Replica, session: aiohttp.ClientSession, flood: Flood, seconds: float
) -> Found:
    alone = await _customer(session, seconds)
    strangers = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "benchmarks.strangers", str(running.port)),
        *(str(seconds + BEGINS_WITHIN_SECONDS), flood.path, flood.kind),
        stdout=asyncio.subprocess.PIPE,
    )
    await asyncio.sleep(BEGINS_WITHIN_SECONDS)
    beside = await _customer(session, seconds)
    said, _ = await strangers.communicate()
    hit, miss = zip(alone, beside, strict=True)
    return Found(flood, hit, miss, json.loads(said), os.getloadavg()[0])


async def _customer(
    session: aiohttp.ClientSession, seconds: float
) -> tuple[float, float]:
    """Return the medians of one customer's HITs and MISSes, requested in turn."""
    times: tuple[list[float], list[float]] = [], []
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        for kind, prompt in zip(
            times, ("a lighthouse", f"new {next(_numbers)}"), strict=True
        ):
            began = time.monotonic()
            async with session.get(LIVE, params={"prompt": prompt}) as answer:
                await answer.read()
                answer.raise_for_status()
            kind.append(time.monotonic() - began)
            await asyncio.sleep(PAUSE_SECONDS)
    hits, misses = times
    return median(hits), median(misses)


HEAD = (
    "| strangers at | HIT alone | beside | times | MISS alone | beside | times | "
    "strangers' answers | load of the machine |\n"
    "|---|---|---|---|---|---|---|---|---|"
)


def row(found: Found) -> str:
    """Return one line of the printed table."""
    cells = [found.flood.name]
    for alone, beside in (found.hit, found.miss):
        cells += [
            f"{alone * 1000:.1f} ms",
            f"{beside * 1000:.1f} ms",
            f"{beside / alone:.2f}",
        ]
    answers = sorted(found.answers.items())
    cells.append(", ".join(f"{count} of {status}" for status, count in answers))
    cells.append(f"{found.load:.1f}")
    return f"| {' | '.join(cells)} |"
