"""Counters and histograms that one thread alone adds to, for the hit path.

prometheus_client's own take a lock for each number and look through the
buckets one by one, because any thread may add to them. These are plain
numbers, handed over when Prometheus asks (its "custom collectors").
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from itertools import accumulate

from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector


class Tally(Collector):
    """A counter for each combination of *labels*; add to `counts` as you like."""

    def __init__(self, name: str, documentation: str, labels: Sequence[str]) -> None:
        self._described = (name, documentation, labels)
        self.counts: dict[tuple[str, ...], int] = {}

    def collect(self) -> Iterable[CounterMetricFamily]:
        """Return the family with a series for each key of `counts`."""
        name, documentation, labels = self._described
        family = CounterMetricFamily(name, documentation, labels=labels)
        for values, count in self.counts.items():
            family.add_metric(values, count)
        return [family]


class Durations(Collector):
    """A histogram of seconds for each value of *label*, in *buckets*."""

    def __init__(
        self, name: str, documentation: str, label: str, buckets: Sequence[float]
    ) -> None:
        self._described = (name, documentation, [label])
        self._buckets = tuple(buckets)
        self._series: dict[str, list[float]] = {}

    def declare(self, value: str) -> list[float]:
        """Return the series of *value*, made from zero the first time."""
        # A count for each bucket, one for all that is longer, and the sum.
        return self._series.setdefault(value, [0.0] * (len(self._buckets) + 2))

    def observe(self, value: str, seconds: float) -> None:
        """Add *seconds* to the series of *value*."""
        series = self._series.get(value) or self.declare(value)
        series[bisect_left(self._buckets, seconds)] += 1
        series[-1] += seconds

    def collect(self) -> Iterable[HistogramMetricFamily]:
        """Return the family with a series for each declared value."""
        name, documentation, labels = self._described
        family = HistogramMetricFamily(name, documentation, labels=labels)
        limits = [*(str(float(limit)) for limit in self._buckets), "+Inf"]
        for value, series in self._series.items():
            up_to = accumulate(series[:-1])
            family.add_metric(
                [value], list(zip(limits, up_to, strict=True)), series[-1]
            )
        return [family]
