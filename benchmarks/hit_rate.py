"""The hit rate of the hot tier under a Zipf load, by simulation."""

from __future__ import annotations

import math
import random
from typing import TYPE_CHECKING

from cachetools import LRUCache

from benchmarks import plot

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PROMPTS = 10_000_000
PICTURE_BYTES = 65_536
REQUESTS = 3_000_000
EXPONENTS = (0.8, 1.0, 1.2)
SHARES = (0.00001, 0.0001, 0.001, 0.01, 0.05)


def write(path: Path) -> None:
    """Simulate, print the curve and write its plot to *path*."""
    series = {}
    for exponent in EXPONENTS:
        points = [(share, hit_rate(exponent, share)) for share in SHARES]
        series[f"Zipf, exponent {exponent}"] = points
        print(exponent, *(f"{share:.3%}: {rate:.1%}" for share, rate in points))
    title = "Hit rate of one hot tier over its share of 10 million pictures"
    path.write_text(plot.curves(title, series, SHARES))


def hit_rate(
    exponent: float, share: float, *, prompts: int = PROMPTS, requests: int = REQUESTS
) -> float:
    """Return the share of requests that an LRU tier answers, once it is full.

    The tier holds *share* of the bytes of all pictures; sizes are lognormal
    around `PICTURE_BYTES`.
    """
    tier: LRUCache[int, int] = LRUCache(share * prompts * PICTURE_BYTES, lambda x: x)
    sizes = random.Random(1)
    ranks = zipf(exponent, prompts, random.Random(2))
    size_of = [
        int(sizes.lognormvariate(-0.125, 0.5) * PICTURE_BYTES) for _ in range(997)
    ]
    hits = counted = 0
    for number, rank in enumerate(ranks):
        if number == requests:
            break
        is_warm = number >= requests // 2
        counted += is_warm
        if tier.get(rank) is not None:
            hits += is_warm
        else:
            tier[rank] = size_of[rank % len(size_of)]
    return hits / counted


def zipf(exponent: float, count: int, source: random.Random) -> Iterator[int]:
    """Yield ranks from 1 to *count*, the n-th with a weight of n ** -exponent.

    By the inverse of the continuous distribution, which differs from the
    discrete one in the first few ranks only.
    """
    if exponent == 1.0:
        reach = math.log(count + 1)
        while True:
            yield int(math.exp(source.random() * reach))
    power = 1.0 - exponent
    reach = (count + 1) ** power - 1.0
    while True:
        yield int((source.random() * reach + 1.0) ** (1.0 / power))
