"""The contract of the statistics store, for Redis and the fake."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from app.storage.ports.statistics import Batch
from app.storage.redis.client.traffic import open_redis
from app.storage.redis.statistics import RedisStatistics
from tests.fakes import InMemoryStatistics

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from app.storage.ports.statistics import StatisticsStore

SHOP = "acme/shop"
LIGHTHOUSE, FOX, TORII = "11" * 32, "22" * 32, "33" * 32
NOON_MS = 1_700_000_000_000
NOWHERE = (0, "")


@dataclass
class Stores:
    """The same sums as two replicas see them."""

    ours: StatisticsStore
    theirs: StatisticsStore


@pytest.fixture(params=["memory", "redis"])
async def stores(request: pytest.FixtureRequest) -> AsyncIterator[Stores]:
    """Give each kind of store, empty."""
    if request.param == "memory":
        ours = InMemoryStatistics()
        theirs = InMemoryStatistics(ours.projects)
        yield Stores(ours, theirs)
        return
    async with open_redis(request.getfixturevalue("redis_url")) as connections:
        commands = connections.commands
        yield Stores(RedisStatistics(commands), RedisStatistics(commands))


def added(*sizes: tuple[str, int]) -> Batch:
    """Return a batch of added entries, a millisecond apart."""
    return Batch(
        added={key: (NOON_MS + n, size) for n, (key, size) in enumerate(sizes)}
    )


async def test_an_unused_project_has_nothing(stores: Stores) -> None:
    """An unused project has zero sums and empty lists."""
    assert await stores.ours.read(SHOP) == {"entries": 0}
    for by_hits in (True, False):
        page = await stores.ours.page(SHOP, by_hits=by_hits, after=NOWHERE, limit=9)
        assert page == []


async def test_replicas_add_up(stores: Stores) -> None:
    """The batches of two replicas add up, for each project apart."""
    await stores.ours.apply(SHOP, 1, Batch(sums={"hits": 2.0, "saved": 0.08}))
    await stores.theirs.apply(SHOP, 1, Batch(sums={"hits": 3.0}))
    await stores.theirs.apply("acme/zoo", 2, Batch(sums={"hits": 5.0}))

    sums = await stores.theirs.read(SHOP)

    assert sums == {"hits": 5.0, "saved": pytest.approx(0.08), "entries": 0}


async def test_a_batch_that_came_through_is_not_added_again(stores: Stores) -> None:
    """A batch that is sent again after a lost reply counts once."""
    for number in (1, 1, 2, 1):
        await stores.ours.apply(SHOP, number, Batch(sums={"hits": 1.0}))

    assert (await stores.ours.read(SHOP))["hits"] == 2


async def test_an_entry_counts_once_however_often_it_is_added(
    stores: Stores,
) -> None:
    """Adding a listed entry again changes neither count nor bytes."""
    await stores.ours.apply(SHOP, 1, added((LIGHTHOUSE, 100), (FOX, 50)))
    await stores.theirs.apply(SHOP, 1, added((LIGHTHOUSE, 100)))

    sums = await stores.ours.read(SHOP)

    assert (sums["entries"], sums["bytes_stored"]) == (2, 150)


async def test_what_is_purged_goes_with_its_bytes(stores: Stores) -> None:
    """A purged entry leaves both lists and the sum of bytes."""
    await stores.ours.apply(SHOP, 1, added((LIGHTHOUSE, 100), (FOX, 50)))
    await stores.theirs.apply(SHOP, 1, Batch(removed={FOX: 50, TORII: 7}))

    sums = await stores.ours.read(SHOP)

    assert (sums["entries"], sums["bytes_stored"]) == (1, 100)
    for by_hits in (True, False):
        page = await stores.ours.page(SHOP, by_hits=by_hits, after=NOWHERE, limit=9)
        assert [key for _, key in page] == [LIGHTHOUSE]


async def test_purged_and_painted_again_in_one_batch_it_is_there(
    stores: Stores,
) -> None:
    """An entry that is purged and painted in one batch is listed with its new size."""
    await stores.ours.apply(SHOP, 1, added((LIGHTHOUSE, 100)))
    again = added((LIGHTHOUSE, 30))
    again.removed[LIGHTHOUSE] = 100
    again.accesses[LIGHTHOUSE] = (NOON_MS + 9, 1)
    await stores.ours.apply(SHOP, 2, again)

    sums = await stores.ours.read(SHOP)

    assert (sums["entries"], sums["bytes_stored"]) == (1, 30)
    page = await stores.ours.page(SHOP, by_hits=False, after=NOWHERE, limit=9)
    assert page == [(NOON_MS + 9, LIGHTHOUSE)]


async def test_a_refresh_changes_the_bytes(stores: Stores) -> None:
    """A refresh changes the sum of bytes by the difference."""
    await stores.ours.apply(SHOP, 1, added((LIGHTHOUSE, 100)))
    await stores.ours.apply(SHOP, 2, Batch(sums={"bytes_stored": -40.0}))
    await stores.ours.apply(SHOP, 3, added((FOX, 5)))

    assert (await stores.ours.read(SHOP))["bytes_stored"] == 65


async def test_lists_go_by_the_latest_access_and_by_hits(stores: Stores) -> None:
    """Lists are sorted by last access or hits, and late events move nothing back."""
    await stores.ours.apply(SHOP, 1, added((LIGHTHOUSE, 1), (FOX, 1), (TORII, 1)))
    await stores.ours.apply(SHOP, 2, Batch(accesses={LIGHTHOUSE: (NOON_MS + 60, 3)}))
    await stores.theirs.apply(
        SHOP, 1, Batch(accesses={LIGHTHOUSE: (NOON_MS + 50, 2), FOX: (NOON_MS + 9, 7)})
    )

    recent = await stores.ours.page(SHOP, by_hits=False, after=NOWHERE, limit=9)
    popular = await stores.ours.page(SHOP, by_hits=True, after=NOWHERE, limit=9)
    sums = await stores.ours.read(SHOP)

    assert recent == [
        (NOON_MS + 60, LIGHTHOUSE),
        (NOON_MS + 9, FOX),
        (NOON_MS + 2, TORII),
    ]
    assert popular == [(7, FOX), (3, LIGHTHOUSE), (0, TORII)]
    assert sums["last_accessed_ms"] == NOON_MS + 60


async def test_an_access_does_not_bring_a_purged_entry_back(stores: Stores) -> None:
    """A late hit of a purged entry does not list it again."""
    await stores.ours.apply(SHOP, 1, Batch(accesses={LIGHTHOUSE: (NOON_MS, 3)}))

    assert (await stores.ours.read(SHOP))["entries"] == 0


@pytest.mark.parametrize("by_hits", [True, False])
async def test_pages_cover_the_list_once(stores: Stores, *, by_hits: bool) -> None:
    """The pages of a list have every entry exactly once."""
    everything = [f"{n:064x}" for n in range(23)]
    await stores.ours.apply(SHOP, 1, added(*((key, 1) for key in everything)))

    seen: list[str] = []
    after = NOWHERE
    while page := await stores.ours.page(SHOP, by_hits=by_hits, after=after, limit=5):
        seen += [key for _, key in page]
        after = page[-1]

    assert seen == everything[::-1]


async def test_a_page_goes_on_where_the_last_one_has_moved_away(
    stores: Stores,
) -> None:
    """A list goes on correctly after the entry at its cursor has moved."""
    await stores.ours.apply(SHOP, 1, added((LIGHTHOUSE, 1), (FOX, 1), (TORII, 1)))
    first = await stores.ours.page(SHOP, by_hits=False, after=NOWHERE, limit=2)
    assert [key for _, key in first] == [TORII, FOX]
    await stores.ours.apply(SHOP, 2, Batch(accesses={FOX: (NOON_MS + 60, 1)}))

    rest = await stores.ours.page(SHOP, by_hits=False, after=first[-1], limit=2)

    assert [key for _, key in rest] == [LIGHTHOUSE]


async def test_sums_have_a_history(stores: Stores) -> None:
    """A batch is added to its hour, and hours without one are empty."""
    hour, project = NOON_MS // 3_600_000, "acme/history"
    await stores.ours.apply(
        project, 1, Batch(hour=hour, sums={"hits": 2, "saved": 0.04})
    )
    await stores.ours.apply(project, 1, Batch(hour=hour, sums={"hits": 9}))
    await stores.theirs.apply(project, 1, Batch(hour=hour, sums={"hits": 3}))
    await stores.ours.apply(project, 2, Batch(hour=hour - 24, sums={"misses": 1}))

    found = await stores.theirs.history(project, [hour - 24, hour - 1, hour])

    assert found == [{"misses": 1}, {}, {"hits": 5, "saved": 0.04}]
