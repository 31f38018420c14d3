"""Assembly of the prompt cache: one way for service, commands and tests."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from app.prompt_cache import purge
from app.prompt_cache.administration import PromptEntries
from app.prompt_cache.bulk_purge import BulkPurge
from app.prompt_cache.cache import PromptCache
from app.prompt_cache.counted_look_ups import CountedLookUps
from app.prompt_cache.entry.confirmed_entries import ConfirmedEntries
from app.prompt_cache.entry.ledger import Ledger
from app.prompt_cache.flight.flights import Flights
from app.prompt_cache.flight.leases import Leases
from app.prompt_cache.generations.events import GenerationEvents
from app.prompt_cache.generations.generations import Generations
from app.prompt_cache.listed_entries import MANIFESTS_AT_ONCE, ListedEntries
from app.prompt_cache.look_ups import LookUps
from app.prompt_cache.older_entries import OlderEntries
from app.prompt_cache.orphans import Orphans
from app.prompt_cache.painting import unstored_pictures
from app.prompt_cache.painting.asking import Asking
from app.prompt_cache.painting.commit import MAX_STORING_TIME, Committer
from app.prompt_cache.painting.hot_tier import HotTier
from app.prompt_cache.painting.left_behind import LeftBehind
from app.prompt_cache.painting.left_jobs import LeftJobs
from app.prompt_cache.painting.painter import Painter, nothing_refused
from app.prompt_cache.painting.pictures import Pictures
from app.prompt_cache.painting.unstored_pictures import UnstoredPictures
from app.prompt_cache.parts import PromptCacheParts
from app.prompt_cache.purge import Purge
from app.prompt_cache.purge_finisher import PurgeFinisher
from app.prompt_cache.rebuild import Rebuild
from app.prompt_cache.restorations import Restorations
from app.prompt_cache.statistics import Statistics

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import timedelta

    from app.generation.models import Models
    from app.generation.spending import PaidAlready
    from app.prompt_cache.flight.result import FlightResult
    from app.prompt_cache.painting.asking import References
    from app.prompt_cache.painting.painter import PaintingRefusal
    from app.storage.ports.generations import GenerationStore
    from app.storage.ports.object_store import ObjectStore
    from app.storage.ports.prompt_index import CompletionEvents, PromptIndex
    from app.storage.ports.statistics import StatisticsStore
    from app.storage.storage_key import Project
    from app.telemetry import Metrics


# Calls to the store at once of visitors who look unpainted prompts up: they share
# no line with paintings, pictures and keys.
VISITORS_AT_ONCE = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Ports:
    """The ports of the prompt cache: storage, models, accounts and metrics."""

    store: ObjectStore
    index: PromptIndex
    completions: CompletionEvents
    statistics: StatisticsStore
    generations: GenerationStore
    models: Models
    references: References
    paid_already: Callable[[Project], PaidAlready]
    metrics: Metrics
    painting_refusal: PaintingRefusal = nothing_refused


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The operator's settings, and the bounds that only tests change."""

    lease_for: timedelta
    generation_timeout: timedelta
    hot_tier_bytes: int
    max_storing_time: timedelta = MAX_STORING_TIME
    unstored_bytes: int = unstored_pictures.MAX_BYTES
    unstored_patience_seconds: float = unstored_pictures.PATIENCE_SECONDS
    purge_waits_seconds: float = purge.WAITS_SECONDS


@dataclass(frozen=True, slots=True, kw_only=True)
class _Shared:
    """The parts that several others are made of."""

    index: PromptIndex
    ledger: Ledger
    visitors_ledger: Ledger
    leases: Leases
    hot_tier: HotTier
    pictures: Pictures
    statistics: Statistics
    generations: Generations
    committer: Committer
    left_jobs: LeftJobs
    flights: Flights[FlightResult]
    refreshes: Flights[FlightResult]


def assemble(ports: Ports, limits: Limits) -> PromptCacheParts:
    """Put the prompt cache of one replica together."""
    shared = _shared(ports, limits)
    index, ledger, statistics = shared.index, shared.ledger, shared.statistics
    older_entries = _older_entries(shared)
    painter = _painter(shared, ports, limits)
    purging = _purge(shared, ports, limits)
    return PromptCacheParts(
        cache=_cache(shared, painter, older_entries, ports.metrics),
        entries=PromptEntries(
            index=index, ledger=ledger, painter=painter, refreshes=shared.refreshes
        ),
        listed=ListedEntries(
            index=index,
            older_entries=replace(
                older_entries, ledger=ledger.on_a_line(MANIFESTS_AT_ONCE)
            ),
            statistics=statistics,
        ),
        purge=purging,
        bulk_purge=BulkPurge(
            purge=purging, index=index, ledger=ledger, statistics=statistics
        ),
        purge_finisher=PurgeFinisher(purge=purging, ledger=ledger),
        rebuild=Rebuild(
            index=index,
            leases=shared.leases,
            ledger=ledger,
            committer=shared.committer,
            statistics=statistics,
        ),
        orphans=Orphans(ledger=ledger),
        ledger=ledger,
        leases=shared.leases,
        pictures=shared.pictures,
        painter=painter,
        hot_tier=shared.hot_tier,
        statistics=statistics,
        generations=shared.generations,
        generation_events=GenerationEvents(shared.generations, ports.completions),
        left_behind=_left_behind(shared, painter, ports, limits),
    )


def _shared(ports: Ports, limits: Limits) -> _Shared:
    index, metrics = ports.index, ports.metrics
    ledger = Ledger(ports.store)
    leases = Leases(
        index=index,
        completions=ports.completions,
        lease_for=limits.lease_for,
        metrics=metrics,
    )
    hot_tier = HotTier(limits.hot_tier_bytes, on_change=metrics.hot_tier_bytes)
    pictures = Pictures(ledger=ledger, hot_tier=hot_tier, metrics=metrics)
    statistics = Statistics(ports.statistics)
    return _Shared(
        index=index,
        ledger=ledger,
        visitors_ledger=ledger.on_a_line(VISITORS_AT_ONCE),
        leases=leases,
        hot_tier=hot_tier,
        pictures=pictures,
        statistics=statistics,
        generations=Generations(
            ports.generations,
            timeout=limits.generation_timeout,
            lease_for=limits.lease_for,
        ),
        committer=Committer(
            index=index,
            ledger=ledger,
            pictures=pictures,
            statistics=statistics,
            metrics=metrics,
            confirmed=ConfirmedEntries(),
            max_storing_time=limits.max_storing_time,
        ),
        left_jobs=LeftJobs(index, ports.paid_already),
        flights=Flights(leases),
        refreshes=Flights(leases),
    )


def _cache(
    shared: _Shared, painter: Painter, older_entries: OlderEntries, metrics: Metrics
) -> PromptCache:
    return PromptCache(
        index=shared.index,
        look_ups=LookUps(
            index=shared.index,
            ledger=shared.ledger,
            older_entries=older_entries,
            statistics=shared.statistics,
            metrics=metrics,
        ),
        counted_look_ups=CountedLookUps(shared.flights),
        flights=shared.flights,
        painter=painter,
        restorations=Restorations(
            index=shared.index,
            leases=shared.leases,
            ledger=shared.ledger,
            visitors_ledger=shared.visitors_ledger,
            committer=shared.committer,
        ),
        pictures=shared.pictures,
        metrics=metrics,
    )


def _painter(shared: _Shared, ports: Ports, limits: Limits) -> Painter:
    return Painter(
        index=shared.index,
        ledger=shared.ledger,
        visitors_ledger=shared.visitors_ledger,
        asking=Asking(
            index=shared.index,
            models=ports.models,
            statistics=shared.statistics,
            references=ports.references,
        ),
        committer=shared.committer,
        unstored=UnstoredPictures(
            shared.index,
            max_bytes=limits.unstored_bytes,
            patience_seconds=limits.unstored_patience_seconds,
        ),
        left_jobs=shared.left_jobs,
        generations=shared.generations,
        generation_timeout=limits.generation_timeout,
        refusal=ports.painting_refusal,
    )


def _purge(shared: _Shared, ports: Ports, limits: Limits) -> Purge:
    return Purge(
        index=shared.index,
        left_jobs=shared.left_jobs,
        leases=shared.leases,
        ledger=shared.ledger,
        pictures=shared.pictures,
        statistics=shared.statistics,
        generations=shared.generations,
        models=ports.models,
        paid_already=ports.paid_already,
        waits_seconds=limits.purge_waits_seconds,
    )


def _older_entries(shared: _Shared) -> OlderEntries:
    return OlderEntries(
        index=shared.index,
        ledger=shared.ledger,
        leases=shared.leases,
        committer=shared.committer,
        pictures=shared.pictures,
        statistics=shared.statistics,
        confirmed=shared.committer.confirmed,
    )


def _left_behind(
    shared: _Shared, painter: Painter, ports: Ports, limits: Limits
) -> LeftBehind:
    return LeftBehind(
        index=shared.index,
        left_jobs=shared.left_jobs,
        painter=painter,
        generations=shared.generations,
        flights=shared.flights,
        refreshes=shared.refreshes,
        paid_already=ports.paid_already,
        lease_for=limits.lease_for,
    )
