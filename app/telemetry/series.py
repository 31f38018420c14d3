"""The series of metrics: their names, meanings and labels.

Every series exists from the start, so that the first failure of a kind is an
increase and not the birth of a series.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from app.telemetry.counters import Durations, Tally

UNMATCHED = "unmatched"
OTHER = "other"

LOOKUP_RESULTS = ("hit", "miss", "coalesced", "restored")
CALL_OUTCOMES = ("ok", "rejected", "rate_limited", "failed", "timeout", "bad_image")
CUT_REASONS = ("short", "stalled")
DEGRADATIONS = (
    *("lent_references", "rate_limits", "rules"),
    *("stale_documents", "unsettled"),
)
DEPENDENCIES = ("redis", "object_store")
RENDITION_RESULTS = ("made", "failed", "refused")
FENCE_VERDICTS = ("proved", "unproved", "failed", "lease")

_FIRST_STATUSES = (200, 500, 503)
_FIRST_REFUSALS = (400, 404, 405, 414)

# From a hit out of memory (a millisecond) to the longest wait (minutes).
_REQUEST_BUCKETS = (
    *(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5),
    *(1, 2.5, 5, 10, 30, 60, 120),
)
_RENDITION_BUCKETS = (0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_GENERATION_BUCKETS = (0.1, 0.5, 1, 2.5, 5, 10, 20, 30, 60, 120, 300)


class Series:
    """All series of one replica, registered in *registry*.

    *routes* are (method, template) pairs; *models* maps each alias to the
    name of its provider.
    """

    def __init__(
        self,
        registry: CollectorRegistry,
        *,
        routes: Iterable[tuple[str, str]],
        models: Mapping[str, str],
    ) -> None:
        self._registry = registry
        self._declare_requests(routes)
        self._declare_calls(models)
        self._declare_cache_and_storage()

    def _declare_requests(self, routes: Iterable[tuple[str, str]]) -> None:
        self.requests = Tally(
            "paintonce_requests_total",
            "Answers by route, method and status; 499: the client left.",
            ("route", "method", "status"),
        )
        self.seconds = Durations(
            "paintonce_request_seconds",
            "From a request's head to its answer.",
            "route",
            _REQUEST_BUCKETS,
        )
        self._registry.register(self.requests)
        self._registry.register(self.seconds)
        counts = self.requests.counts
        for method, route in routes:
            self.seconds.declare(route)
            for status in _FIRST_STATUSES:
                counts[route, method, str(status)] = 0
        self.seconds.declare(UNMATCHED)
        for status in _FIRST_REFUSALS:
            counts[UNMATCHED, OTHER, str(status)] = 0

    def _declare_calls(self, models: Mapping[str, str]) -> None:
        self.calls = Counter(
            "paintonce_provider_calls_total",
            "Calls that reached a provider, by how they ended.",
            ("provider", "model", "outcome"),
            registry=self._registry,
        )
        self.generation_seconds = Histogram(
            "paintonce_generation_seconds",
            "How long a call to a provider took.",
            ("model",),
            buckets=_GENERATION_BUCKETS,
            registry=self._registry,
        )
        self.spend = Counter(
            "paintonce_spend_total",
            "What was paid, in the currency of the models file.",
            ("model",),
            registry=self._registry,
        )
        self.ambiguous_ends = Counter(
            "paintonce_ambiguous_ends_total",
            "Calls that may have been billed without a picture.",
            ("model",),
            registry=self._registry,
        )
        self.jobs_resumed = Counter(
            "paintonce_jobs_resumed_total",
            "Jobs of a provider that went on under another leader.",
            ("model",),
            registry=self._registry,
        )
        self.queue_length = Gauge(
            "paintonce_provider_queue_length",
            "Paintings that wait for a slot.",
            ("model",),
            registry=self._registry,
        )
        self.model_resting = Gauge(
            "paintonce_provider_breaker_open",
            "1 while calls of a model are refused after failures in a row.",
            ("model",),
            registry=self._registry,
        )
        for model, provider in models.items():
            for series in (
                *(self.ambiguous_ends, self.jobs_resumed),
                *(self.queue_length, self.model_resting),
            ):
                series.labels(model)
            self.generation_seconds.labels(model)
            self.spend.labels(model)
            for outcome in CALL_OUTCOMES:
                self.calls.labels(provider, model, outcome)

    def _declare_cache_and_storage(self) -> None:
        self.lookups = Tally(
            "paintonce_cache_lookups_total",
            "Look-ups in the prompt cache, one result each.",
            ("result",),
        )
        self._registry.register(self.lookups)
        for result in LOOKUP_RESULTS:
            self.lookups.counts[(result,)] = 0
        self.uncounted_hits = Counter(
            "paintonce_uncounted_hits_total",
            "Hits served while Redis could not count them.",
            registry=self._registry,
        )
        self.hot_tier_bytes = Gauge(
            "paintonce_hot_tier_bytes",
            "Bytes of pictures held in memory.",
            registry=self._registry,
        )
        self.dependency_up = Gauge(
            "paintonce_dependency_up",
            "1 while the dependency answers.",
            ("dependency",),
            registry=self._registry,
        )
        for dependency in DEPENDENCIES:
            self.dependency_up.labels(dependency)
        fence = Gauge(
            "paintonce_store_fence",
            "1 for the verdict of the proof of the store's conditional writes.",
            ("verdict",),
            registry=self._registry,
        )
        self.store_fence = {name: fence.labels(name) for name in FENCE_VERDICTS}
        cut = Counter(
            "paintonce_cut_bodies_total",
            "Answers cut before their end.",
            ("reason",),
            registry=self._registry,
        )
        self.cut_bodies = {reason: cut.labels(reason) for reason in CUT_REASONS}
        self._declare_renditions()
        self._declare_faults()

    def _declare_renditions(self) -> None:
        ended = Counter(
            "paintonce_renditions_total",
            "Renditions that had to be made, by their result.",
            ("result",),
            registry=self._registry,
        )
        self.renditions = {name: ended.labels(name) for name in RENDITION_RESULTS}
        self.rendition_seconds = Histogram(
            "paintonce_rendition_seconds",
            "How long a rendition took, without waiting for its turn.",
            buckets=_RENDITION_BUCKETS,
            registry=self._registry,
        )
        self.renditions_waiting = Gauge(
            "paintonce_renditions_waiting",
            "Renditions that wait for their turn.",
            registry=self._registry,
        )

    def _declare_faults(self) -> None:
        def counter(name: str, meaning: str) -> Counter:
            return Counter(name, meaning, registry=self._registry)

        self.lost_leases = counter(
            "paintonce_lost_leases_total",
            "Leases that were lost when their holder was to renew them.",
        )
        self.refused_pictures = counter(
            "paintonce_refused_pictures_total",
            "Pictures that were paid for and came after another one had won.",
        )
        self.orphans = counter(
            "paintonce_orphans_total",
            "Pictures that stay in the store although nothing may point at them.",
        )
        self.damaged_objects = counter(
            "paintonce_damaged_objects_total",
            "Answers whose stored bytes were damaged.",
        )
        self.breaker_open = Gauge(
            "paintonce_redis_breaker_open",
            "1 while commands to Redis, or to a node of it, fail at once.",
            registry=self._registry,
        )
        self.degraded = Counter(
            "paintonce_degraded_total",
            "Requests that were served in a degraded way.",
            ("what",),
            registry=self._registry,
        )
        for what in DEGRADATIONS:
            self.degraded.labels(what)
        self.loop_stalls = counter(
            "paintonce_loop_stalls_total",
            "Times that the event loop stood still for a quarter of a second or more.",
        )
        self.loop_stall_seconds = counter(
            "paintonce_loop_stall_seconds_total",
            "How long the event loop stood still in all.",
        )
