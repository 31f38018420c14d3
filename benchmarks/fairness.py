"""Strangers beside a customer: how long its HITs and MISSes take without and with.

Run it against a service of one's own on this machine:

    python -m app dev --port 8090 --data /tmp/fair
    python -m benchmarks.fairness http://127.0.0.1:8090

600 connections ask a closed scope for unpainted prompts, each twice a second,
for ten seconds, while one customer asks for a painted prompt and for new ones.
It prints the medians of the customer, alone and in the flood, and their ratio.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import sys
import time
from collections import Counter
from statistics import median

import aiohttp

STRANGERS, PAUSE_SECONDS, SECONDS = 600, 0.5, 10.0
LIVE, SCOPE = "/api/v1/live/generate", "/api/v1/live/scopes/flooded"
_numbers = itertools.count(time.time_ns())


async def customer(
    session: aiohttp.ClientSession, seconds: float
) -> tuple[list[float], list[float]]:
    """Return how long HITs and MISSes of one customer took, in turn."""
    times: tuple[list[float], list[float]] = [], []
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        for kind, prompt in enumerate(("a lighthouse", f"new {next(_numbers)}")):
            began = time.monotonic()
            async with session.get(LIVE, params={"prompt": prompt}) as answer:
                await answer.read()
                answer.raise_for_status()
            times[kind].append(time.monotonic() - began)
            await asyncio.sleep(0.05)
    return times


async def stranger(
    session: aiohttp.ClientSession, answers: Counter[int], until: float
) -> None:
    """Ask the closed scope for ever new prompts, twice a second."""
    while time.monotonic() < until:
        query = {"prompt": f"stranger {next(_numbers)}"}
        async with session.get("/live/default/main/flooded", params=query) as answer:
            await answer.read()
            answers[answer.status] += 1
        await asyncio.sleep(PAUSE_SECONDS)


async def flood(url: str) -> None:
    """Let the strangers ask, and print what they were answered."""
    answers: Counter[int] = Counter()
    until = time.monotonic() + SECONDS + 2
    limit = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(url, connector=limit) as crowd:
        await asyncio.gather(
            *(stranger(crowd, answers, until) for _ in range(STRANGERS))
        )
    print(f"strangers' answers: {dict(answers)}")


async def measure(url: str) -> None:
    """Print the customer's times without and with the flood."""
    async with aiohttp.ClientSession(url) as session:
        async with session.put(SCOPE, json={"allow_new": False}) as made:
            made.raise_for_status()
        await customer(session, 1.0)
        alone = await customer(session, SECONDS)
        # A process of its own: the customer's clock is not the strangers'.
        strangers = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "benchmarks.fairness", "--flood", url)
        )
        await asyncio.sleep(1.5)
        beside = await customer(session, SECONDS)
        await strangers.wait()
    for name, without, with_them in zip(("HIT", "MISS"), alone, beside, strict=True):
        before, after = median(without) * 1000, median(with_them) * 1000
        ratio = after / before
        print(
            f"{name}: {before:.1f} ms alone, {after:.1f} ms beside, {ratio:.2f} times"
        )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url")
    parser.add_argument("--flood", action="store_true", help="be the strangers alone")
    chosen = parser.parse_args()
    asyncio.run((flood if chosen.flood else measure)(chosen.url))
