"""Metrics: domain events in, Prometheus text out. One registry per application."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Literal

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

from app.telemetry.series import OTHER, Series

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class Metrics:
    """Counters and gauges of one replica, a method for each event.

    *routes* are (method, template) pairs; *models* maps each alias to the
    name of its provider.
    """

    content_type = CONTENT_TYPE_PLAIN_0_0_4

    def __init__(
        self, *, routes: Iterable[tuple[str, str]] = (), models: Mapping[str, str] = {}
    ) -> None:
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        self._series = Series(self._registry, routes=routes, models=models)

    def request(self, route: str, method: str, status: int, seconds: float) -> None:
        """Count an answer: *route* is a template or `unmatched`."""
        counts = self._series.requests.counts
        key = (route, method if method in _METHODS else OTHER, str(status))
        counts[key] = counts.get(key, 0) + 1
        self._series.seconds.observe(route, seconds)

    def lookup(self, result: str) -> None:
        """Count the result of a look-up in the prompt cache."""
        self._series.lookups.counts[(result,)] += 1

    def uncounted_hit(self) -> None:
        """Count a hit that Redis could not count."""
        self._series.uncounted_hits.inc()

    def provider_call(
        self,
        provider: str,
        model: str,
        outcome: str,
        seconds: float,
        price: float,
    ) -> None:
        """Count a call that reached *provider*, its length and what it cost.

        *outcome* is one of `CALL_OUTCOMES`.
        """
        self._series.calls.labels(provider, model, outcome).inc()
        self._series.generation_seconds.labels(model).observe(seconds)
        self._series.spend.labels(model).inc(price)

    def ambiguous_end(self, model: str) -> None:
        """Count a call that may have been billed without a picture."""
        self._series.ambiguous_ends.labels(model).inc()

    def job_resumed(self, model: str) -> None:
        """Count a job that was resumed after its leader had died."""
        self._series.jobs_resumed.labels(model).inc()

    def watch(
        self, model: str, *, waiting: Callable[[], int], is_resting: Callable[[], bool]
    ) -> None:
        """Read the queue and the breaker of *model* whenever metrics are scraped."""
        self._series.queue_length.labels(model).set_function(waiting)
        self._series.model_resting.labels(model).set_function(is_resting)

    def dependency_up(self, dependency: str, up: bool) -> None:  # noqa: FBT001 - an event and its value
        """Set whether *dependency* answers."""
        self._series.dependency_up.labels(dependency).set(up)

    def store_fence(self, verdict: str) -> None:
        """Set the verdict of the proof of the store, one of `FENCE_VERDICTS`."""
        for name, gauge in self._series.store_fence.items():
            gauge.set(name == verdict)

    def hot_tier_bytes(self, size: int) -> None:
        """Set the number of bytes of pictures in memory."""
        self._series.hot_tier_bytes.set(size)

    def cut_body(self, reason: Literal["short", "stalled"]) -> None:
        """Count an answer that was cut: its source ended, or its reader stalled."""
        self._series.cut_bodies[reason].inc()

    def lost_lease(self) -> None:
        """Count a lease that its holder lost while it worked."""
        self._series.lost_leases.inc()

    def refused_picture(self) -> None:
        """Count a picture that was paid for, and came too late."""
        self._series.refused_pictures.inc()

    def orphan(self) -> None:
        """Count a picture that stays in the store, and that nothing may point at."""
        self._series.orphans.inc()

    def rendition(
        self, result: Literal["made", "failed", "refused"], seconds: float = 0.0
    ) -> None:
        """Count a rendition that was not stored yet, by its result, and its time.

        *refused*: too many others were waiting.
        """
        self._series.renditions[result].inc()
        if result == "made":
            self._series.rendition_seconds.observe(seconds)

    def watch_renditions(self, waiting: Callable[[], int]) -> None:
        """Read the number of waiting renditions whenever metrics are scraped."""
        self._series.renditions_waiting.set_function(waiting)

    def damaged_object(self) -> None:
        """Count an answer whose stored bytes were damaged."""
        self._series.damaged_objects.inc()

    def breaker_open(self, is_open: bool) -> None:  # noqa: FBT001 - an event and its value
        """Set whether the breaker of Redis, or of one of its nodes, is open."""
        self._series.breaker_open.set(is_open)

    def degraded(self, what: str) -> None:
        """Count a degradation, one of `DEGRADATIONS`."""
        self._series.degraded.labels(what).inc()

    def loop_stall(self, seconds: float) -> None:
        """Count a stall of the event loop, and its length."""
        self._series.loop_stalls.inc()
        self._series.loop_stall_seconds.inc(seconds)

    def render(self) -> bytes:
        """Return everything in Prometheus text format 0.0.4."""
        return generate_latest(self._registry)
