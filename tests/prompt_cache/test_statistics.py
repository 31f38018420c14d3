"""Statistics of projects: summed in memory, applied in batches, each once."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from app.errors import CacheUnavailable
from app.prompt_cache import statistics as module
from app.prompt_cache.statistics import Cursor, Statistics
from tests.fakes import LIGHTHOUSE, SOON_SECONDS, InMemoryStatistics
from tests.prompt_cache.cache_requests import ask

if TYPE_CHECKING:
    from collections.abc import Callable

    from app.prompt_cache.entry.entry import PromptEntry
    from app.storage.ports.statistics import Batch
    from tests.fakes import Replica

SHOP = "acme/shop"
NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)
NOON_MS = int(NOON.timestamp() * 1000)


@pytest.fixture
def store() -> InMemoryStatistics:
    """Give a store that a test can stop."""
    return InMemoryStatistics()


@pytest.fixture
def statistics(store: InMemoryStatistics) -> Statistics:
    """Give the sums of one replica."""
    return Statistics(store)


@pytest.fixture
async def entry(replica: Replica) -> PromptEntry:
    """Paint the lighthouse, for 0.04."""
    answer = await ask(replica)
    return answer.entry


async def test_nothing_has_happened_yet(statistics: Statistics) -> None:
    """An unused project has all fields with zeros."""
    assert await statistics.read(SHOP) == {
        "project": SHOP,
        "entries": 0,
        "hits": 0,
        "misses": 0,
        "hit_rate": 0,
        "coalesced": 0,
        "failures": 0,
        "bytes_stored": 0,
        "generation_seconds": 0.0,
        "spend": 0.0,
        "saved": 0.0,
        "last_accessed_at": None,
    }


async def test_everything_is_summed(statistics: Statistics, entry: PromptEntry) -> None:
    """Hits add to the savings, and paintings to the spend."""
    statistics.generated(SHOP, 1.25)
    statistics.spent(SHOP, 0.04)
    statistics.added(entry)
    statistics.failed(SHOP)
    statistics.spent(SHOP, 0.0)
    for hits in (1, 2, 3):
        statistics.hit(entry, hits, NOON_MS)
    statistics.coalesced(entry)

    assert await statistics.read(SHOP) == {
        "project": SHOP,
        "entries": 1,
        "hits": 3,
        "misses": 1,
        "hit_rate": 0.75,
        "coalesced": 1,
        "failures": 1,
        "bytes_stored": entry.size,
        "generation_seconds": 1.25,
        "spend": 0.04,
        "saved": 0.12,
        "last_accessed_at": NOON,
    }


async def test_projects_are_summed_apart(
    statistics: Statistics, entry: PromptEntry
) -> None:
    """Each project has its own sums."""
    statistics.hit(entry, 1, NOON_MS)
    statistics.failed("acme/zoo")

    assert (await statistics.read(SHOP))["failures"] == 0
    assert (await statistics.read("acme/zoo"))["hits"] == 0


async def test_a_batch_whose_reply_was_lost_counts_once(
    store: InMemoryStatistics, statistics: Statistics, entry: PromptEntry
) -> None:
    """A batch whose reply was lost is sent again with its number and counts once."""
    statistics.hit(entry, 1, NOON_MS)
    store.lose_reply("apply")
    with pytest.raises(CacheUnavailable):
        await statistics.apply()
    statistics.hit(entry, 2, NOON_MS)
    await statistics.apply()

    assert (await statistics.read(SHOP))["hits"] == 2


async def test_an_outage_delays_and_loses_nothing(
    store: InMemoryStatistics, statistics: Statistics, entry: PromptEntry
) -> None:
    """Sums wait in memory while Redis is unavailable."""
    store.is_away = True
    for hits in (1, 2, 3):
        statistics.hit(entry, hits, NOON_MS)
        await statistics.apply_if_possible()
    store.is_away = False
    await statistics.apply()

    assert (await statistics.read(SHOP))["hits"] == 3


async def test_replies_that_overtake_each_other_do_not_turn_time_back(
    statistics: Statistics, entry: PromptEntry
) -> None:
    """The last access is the latest one, in whatever order replies arrive."""
    statistics.added(entry)
    statistics.hit(entry, 5, NOON_MS + 5)
    statistics.hit(entry, 4, NOON_MS + 4)

    (place,) = await statistics.page(SHOP, by_hits=True, after=None, limit=9)

    assert place == Cursor(5, entry.prompt_hash)
    assert (await statistics.read(SHOP))["last_accessed_at"] > NOON


@pytest.mark.parametrize("apart", [True, False])
async def test_purged_and_painted_again(
    statistics: Statistics, entry: PromptEntry, *, apart: bool
) -> None:
    """Of a purge and a painting the later one counts, in any batches."""
    again = entry._replace(size=7)
    steps: list[Callable[[], None]] = [
        lambda: statistics.added(entry),
        lambda: statistics.removed(LIGHTHOUSE.project, entry.prompt_hash, entry.size),
        lambda: statistics.added(again),
        lambda: statistics.removed(LIGHTHOUSE.project, again.prompt_hash, again.size),
        lambda: statistics.added(again),
    ]
    for step in steps:
        step()
        if apart:
            await statistics.apply()

    sums = await statistics.read(SHOP)

    assert (sums["entries"], sums["bytes_stored"]) == (1, 7)


@pytest.mark.parametrize("is_known", [True, False])
async def test_a_replaced_picture_changes_the_bytes(
    statistics: Statistics, entry: PromptEntry, *, is_known: bool
) -> None:
    """After a refresh the stored bytes are the new picture's."""
    if is_known:
        statistics.added(entry)
        await statistics.apply()
    statistics.replaced(entry, entry._replace(size=7))

    sums = await statistics.read(SHOP)

    assert (sums["entries"], sums["bytes_stored"]) == (1, 7)


async def test_batches_are_applied_in_the_background(
    store: InMemoryStatistics,
    statistics: Statistics,
    entry: PromptEntry,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Batches are applied in the background, after an outage and at the end."""
    monkeypatch.setattr(module, "APPLY_EVERY_SECONDS", 0.001)
    store.fail_next("apply", 2)
    sums = store.projects[SHOP].sums
    async with statistics.applied():
        statistics.hit(entry, 1, NOON_MS)
        async with asyncio.timeout(SOON_SECONDS):
            while sums["hits"] < 1:  # noqa: ASYNC110 - a store sends no event
                await asyncio.sleep(0.001)
        statistics.hit(entry, 2, NOON_MS)

    assert sums["hits"] == 2


class OneFrozen(InMemoryStatistics):
    """A Cluster whose primary for one project does not answer."""

    def __init__(self, frozen: str) -> None:
        super().__init__()
        self.frozen = frozen
        self.asked = asyncio.Event()
        self.answers = asyncio.Event()

    async def apply(self, project: str, number: int, batch: Batch) -> None:
        """Block the frozen project's batches."""
        if project == self.frozen:
            self.asked.set()
            await self.answers.wait()
            raise CacheUnavailable("The cache is unavailable.")
        await super().apply(project, number, batch)


async def test_a_project_whose_primary_is_frozen_holds_no_other_up() -> None:
    """A project whose primary is frozen does not delay another project's batches."""
    store = OneFrozen("acme/zoo")
    statistics = Statistics(store)
    statistics.failed("acme/zoo")
    applying = asyncio.create_task(statistics.apply())
    await store.asked.wait()
    statistics.failed(SHOP)

    async with asyncio.timeout(SOON_SECONDS):
        assert (await statistics.read(SHOP))["failures"] == 1

    store.answers.set()
    with pytest.raises(CacheUnavailable):
        await applying
    store.frozen = ""
    assert (await statistics.read("acme/zoo"))["failures"] == 1


async def test_all_projects_are_tried_where_one_fails() -> None:
    """If one project's batch fails, the others are applied before it is raised."""
    store = OneFrozen("acme/a")
    store.answers.set()
    statistics = Statistics(store)
    for project in ("acme/a", "acme/b", "acme/c"):
        statistics.failed(project)

    with pytest.raises(CacheUnavailable):
        await statistics.apply()

    for project in ("acme/b", "acme/c"):
        assert (await store.read(project))["failures"] == 1
