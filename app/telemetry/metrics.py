"""Metrics: domain events in, Prometheus text out.

Every series exists from the start, so that the first failure of a kind is an
increase and not the birth of a series. One registry per application.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Literal

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

from app.telemetry.counters import Durations, Tally

UNMATCHED = "unmatched"
OTHER = "other"

LOOKUP_RESULTS = ("hit", "miss", "coalesced", "restored")
CALL_OUTCOMES = ("ok", "rejected", "rate_limited", "failed", "timeout", "bad_image")
CUT_REASONS = ("short", "stalled")
DEGRADATIONS = ("rate_limits", "rules", "stale_documents", "unsettled")
DEPENDENCIES = ("redis", "object_store")
RENDITION_RESULTS = ("made", "failed", "refused")
FENCE_VERDICTS = ("proved", "unproved", "failed", "lease")

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_FIRST_STATUSES = (200, 500, 503)
_FIRST_REFUSALS = (400, 404, 405, 414)

# From a hit out of memory (a millisecond) to the longest wait (minutes).
_REQUEST_BUCKETS = (
    *(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5),
    *(1, 2.5, 5, 10, 30, 60, 120),
)
_RENDITION_BUCKETS = (0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_GENERATION_BUCKETS = (0.1, 0.5, 1, 2.5, 5, 10, 20, 30, 60, 120, 300)


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
        self._declare_requests(routes)
        self._declare_calls(models)
        self._declare_the_rest()

    def request(self, route: str, method: str, status: int, seconds: float) -> None:
        """Count an answer: *route* is a template or `unmatched`."""
        counts = self._requests.counts
        key = (route, method if method in _METHODS else OTHER, str(status))
        counts[key] = counts.get(key, 0) + 1
        self._seconds.observe(route, seconds)

    def lookup(self, result: str) -> None:
        """Count what a look-up in the prompt cache came to."""
        self._lookups.counts[(result,)] += 1

    def uncounted_hit(self) -> None:
        """Count a hit that Redis could not count."""
        self._uncounted_hits.inc()

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
        self._calls.labels(provider, model, outcome).inc()
        self._generation_seconds.labels(model).observe(seconds)
        self._spend.labels(model).inc(price)

    def ambiguous_end(self, model: str) -> None:
        """Count a call that may have been billed without a picture."""
        self._ambiguous_ends.labels(model).inc()

    def job_resumed(self, model: str) -> None:
        """Count a job that was gone on with after its leader had died."""
        self._jobs_resumed.labels(model).inc()

    def watch(
        self, model: str, *, waiting: Callable[[], int], is_resting: Callable[[], bool]
    ) -> None:
        """Read the queue and the breaker of *model* whenever metrics are scraped."""
        self._queue_length.labels(model).set_function(waiting)
        self._model_resting.labels(model).set_function(is_resting)

    def dependency_up(self, dependency: str, up: bool) -> None:  # noqa: FBT001 - an event and its value
        """Note whether *dependency* answers."""
        self._dependency_up.labels(dependency).set(up)

    def store_fence(self, verdict: str) -> None:
        """Note the verdict of the proof of the store, one of `FENCE_VERDICTS`."""
        for name, gauge in self._store_fence.items():
            gauge.set(name == verdict)

    def hot_tier_bytes(self, size: int) -> None:
        """Note how many bytes of pictures are in memory."""
        self._hot_tier_bytes.set(size)

    def cut_body(self, reason: Literal["short", "stalled"]) -> None:
        """Count an answer that was cut: its source ended, or its reader stalled."""
        self._cut_bodies[reason].inc()

    def lost_lease(self) -> None:
        """Count a lease that its holder lost while it worked."""
        self._lost_leases.inc()

    def refused_picture(self) -> None:
        """Count a picture that was paid for, and came too late."""
        self._refused_pictures.inc()

    def orphan(self) -> None:
        """Count a picture that stays in the store, and that nothing may point at."""
        self._orphans.inc()

    def rendition(
        self, result: Literal["made", "failed", "refused"], seconds: float = 0.0
    ) -> None:
        """Count a rendition that was not stored yet: what became of it, and its time.

        *refused*: too many others were waiting.
        """
        self._renditions[result].inc()
        if result == "made":
            self._rendition_seconds.observe(seconds)

    def watch_renditions(self, waiting: Callable[[], int]) -> None:
        """Look at the line of renditions on each scrape."""
        self._renditions_waiting.set_function(waiting)

    def damaged_object(self) -> None:
        """Count an answer whose stored bytes were not what was stored."""
        self._damaged_objects.inc()

    def breaker_open(self, is_open: bool) -> None:  # noqa: FBT001 - an event and its value
        """Note whether any part of Redis is known to be unavailable."""
        self._breaker_open.set(is_open)

    def degraded(self, what: str) -> None:
        """Count what went on with less than it needs: one of `DEGRADATIONS`."""
        self._degraded.labels(what).inc()

    def loop_stall(self, seconds: float) -> None:
        """Count a time for which the event loop stood still."""
        self._loop_stalls.inc()
        self._loop_stall_seconds.inc(seconds)

    def render(self) -> bytes:
        """Return everything in Prometheus text format 0.0.4."""
        return generate_latest(self._registry)

    def _declare_requests(self, routes: Iterable[tuple[str, str]]) -> None:
        self._requests = Tally(
            "paintonce_requests_total",
            "Answers by route, method and status; 499: the client left.",
            ("route", "method", "status"),
        )
        self._seconds = Durations(
            "paintonce_request_seconds",
            "From a request's head to its answer.",
            "route",
            _REQUEST_BUCKETS,
        )
        self._registry.register(self._requests)
        self._registry.register(self._seconds)
        counts = self._requests.counts
        for method, route in routes:
            self._seconds.declare(route)
            for status in _FIRST_STATUSES:
                counts[route, method, str(status)] = 0
        self._seconds.declare(UNMATCHED)
        for status in _FIRST_REFUSALS:
            counts[UNMATCHED, OTHER, str(status)] = 0

    def _declare_calls(self, models: Mapping[str, str]) -> None:
        self._calls = Counter(
            "paintonce_provider_calls_total",
            "Calls that reached a provider, by how they ended.",
            ("provider", "model", "outcome"),
            registry=self._registry,
        )
        self._generation_seconds = Histogram(
            "paintonce_generation_seconds",
            "How long a call to a provider took.",
            ("model",),
            buckets=_GENERATION_BUCKETS,
            registry=self._registry,
        )
        self._spend = Counter(
            "paintonce_spend_total",
            "What was paid, in the currency of the models file.",
            ("model",),
            registry=self._registry,
        )
        self._ambiguous_ends = Counter(
            "paintonce_ambiguous_ends_total",
            "Calls that may have been billed without a picture.",
            ("model",),
            registry=self._registry,
        )
        self._jobs_resumed = Counter(
            "paintonce_jobs_resumed_total",
            "Jobs of a provider that went on under another leader.",
            ("model",),
            registry=self._registry,
        )
        self._queue_length = Gauge(
            "paintonce_provider_queue_length",
            "Paintings that wait for a slot.",
            ("model",),
            registry=self._registry,
        )
        self._model_resting = Gauge(
            "paintonce_provider_breaker_open",
            "1 while a model is given a rest after failures.",
            ("model",),
            registry=self._registry,
        )
        for model, provider in models.items():
            for series in (
                *(self._ambiguous_ends, self._jobs_resumed),
                *(self._queue_length, self._model_resting),
            ):
                series.labels(model)
            self._generation_seconds.labels(model)
            self._spend.labels(model)
            for outcome in CALL_OUTCOMES:
                self._calls.labels(provider, model, outcome)

    def _declare_the_rest(self) -> None:
        self._lookups = Tally(
            "paintonce_cache_lookups_total",
            "Look-ups in the prompt cache, one result each.",
            ("result",),
        )
        self._registry.register(self._lookups)
        for result in LOOKUP_RESULTS:
            self._lookups.counts[(result,)] = 0
        self._uncounted_hits = Counter(
            "paintonce_uncounted_hits_total",
            "Hits served while Redis could not count them.",
            registry=self._registry,
        )
        self._hot_tier_bytes = Gauge(
            "paintonce_hot_tier_bytes",
            "Bytes of pictures held in memory.",
            registry=self._registry,
        )
        self._dependency_up = Gauge(
            "paintonce_dependency_up",
            "1 while the dependency answers.",
            ("dependency",),
            registry=self._registry,
        )
        for dependency in DEPENDENCIES:
            self._dependency_up.labels(dependency)
        fence = Gauge(
            "paintonce_store_fence",
            "1 for the verdict of the proof of the store's conditional writes.",
            ("verdict",),
            registry=self._registry,
        )
        self._store_fence = {name: fence.labels(name) for name in FENCE_VERDICTS}
        cut = Counter(
            "paintonce_cut_bodies_total",
            "Answers cut before their end.",
            ("reason",),
            registry=self._registry,
        )
        self._cut_bodies = {reason: cut.labels(reason) for reason in CUT_REASONS}
        self._declare_renditions()
        self._declare_faults()

    def _declare_renditions(self) -> None:
        ended = Counter(
            "paintonce_renditions_total",
            "Renditions that were not stored yet, by what became of them.",
            ("result",),
            registry=self._registry,
        )
        self._renditions = {name: ended.labels(name) for name in RENDITION_RESULTS}
        self._rendition_seconds = Histogram(
            "paintonce_rendition_seconds",
            "From its turn until a rendition was stored.",
            buckets=_RENDITION_BUCKETS,
            registry=self._registry,
        )
        self._renditions_waiting = Gauge(
            "paintonce_renditions_waiting",
            "Renditions that wait for their turn.",
            registry=self._registry,
        )

    def _declare_faults(self) -> None:
        def counter(name: str, meaning: str) -> Counter:
            return Counter(name, meaning, registry=self._registry)

        self._lost_leases = counter(
            "paintonce_lost_leases_total",
            "Leases that were another's, or vacant, when they were to be renewed.",
        )
        self._refused_pictures = counter(
            "paintonce_refused_pictures_total",
            "Pictures that were paid for and came after another one had won.",
        )
        self._orphans = counter(
            "paintonce_orphans_total",
            "Pictures that stay in the store although nothing may point at them.",
        )
        self._damaged_objects = counter(
            "paintonce_damaged_objects_total",
            "Answers that met stored bytes other than those that were stored.",
        )
        self._breaker_open = Gauge(
            "paintonce_redis_breaker_open",
            "1 while commands to Redis, or to a node of it, fail at once.",
            registry=self._registry,
        )
        self._degraded = Counter(
            "paintonce_degraded_total",
            "What went on with less than it needs.",
            ("what",),
            registry=self._registry,
        )
        for what in DEGRADATIONS:
            self._degraded.labels(what)
        self._loop_stalls = counter(
            "paintonce_loop_stalls_total",
            "Times that the event loop stood still for a quarter of a second or more.",
        )
        self._loop_stall_seconds = counter(
            "paintonce_loop_stall_seconds_total",
            "How long the event loop stood still in all.",
        )
