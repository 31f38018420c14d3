"""Manifests and purge notes of a later release are outages of their prompt alone."""

from __future__ import annotations

from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING

import orjson
import pytest

from app.errors import LaterVersion
from app.prompt_cache.bulk_purge import Purged
from app.prompt_cache.entry.prompt_key import Parameters, PromptKey
from app.prompt_cache.orphans import Orphans
from app.prompt_cache.rebuild import RebuildCount
from tests.fakes import LIGHTHOUSE, SHOP, UNLIMITED_PERMIT
from tests.prompt_cache.cache_requests import ask

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tests.fakes import Replica, World

    Reading = Callable[[], Awaitable[object]]

FOX = PromptKey(SHOP, Parameters("a red fox"))
MANIFEST = f"acme/shop/prompts/{LIGHTHOUSE.hash}.json"
NOTE = f"_system/purges/acme/shop/{LIGHTHOUSE.hash}.json"
LATER_NOTE = b'{"version": 2, "purged": {}, "replaced": {}}'


@pytest.fixture
async def painted(replica: Replica) -> None:
    """Paint the lighthouse and a fox."""
    for key in (LIGHTHOUSE, FOX):
        await ask(replica, key)
    await replica.statistics.apply()


@pytest.fixture(params=[2, "2", 1.5, None])
def manifest(request: pytest.FixtureRequest, world: World, painted: None) -> bytes:
    """Give the lighthouse's manifest as a later release would write it."""
    kept = world.store.objects[MANIFEST]
    kept.data = orjson.dumps(orjson.loads(kept.data) | {"version": request.param})
    return kept.data


@pytest.fixture
async def note(world: World, painted: None) -> bytes:
    """Write a purge note of the lighthouse as a later release would."""
    await world.store.put(NOTE, LATER_NOTE, media_type="application/json")
    return LATER_NOTE


def requires_the_manifest(replica: Replica) -> dict[str, Reading]:
    """Return every call that reads the lighthouse's manifest and gives it."""
    entries = replica.entries
    return {
        "paints": lambda: ask(replica),
        "finds": lambda: replica.cache.find(LIGHTHOUSE, UNLIMITED_PERMIT),
        "shows": lambda: entries.get(SHOP, LIGHTHOUSE.hash),
        "refreshes": partial(
            entries.refresh,
            SHOP,
            LIGHTHOUSE.hash,
            permit=UNLIMITED_PERMIT,
            wait_seconds=30,
        ),
        "purges": lambda: replica.purge(SHOP, LIGHTHOUSE.hash),
    }


def errors_in(caplog: pytest.LogCaptureFixture) -> set[str]:
    """Return the messages that were logged as errors."""
    return {record.message for record in caplog.records if record.levelname == "ERROR"}


@pytest.mark.parametrize("reader", ["paints", "finds", "shows", "refreshes", "purges"])
async def test_a_later_manifest_is_an_outage_of_its_prompt(
    world: World,
    replica: Replica,
    manifest: bytes,
    reader: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """C10: each reader of a later manifest raises and logs; nothing is paid or lost."""
    world.index.entries.pop(LIGHTHOUSE.hash)
    before = dict(world.store.objects)

    with pytest.raises(LaterVersion):
        await requires_the_manifest(replica)[reader]()

    assert "manifest of a later version" in errors_in(caplog)
    assert world.store.objects == before
    assert world.store.objects[MANIFEST].data == manifest
    assert world.provider.count == 2
    await ask(replica, FOX)


async def test_an_entry_that_may_be_older_is_not_believed_without_its_manifest(
    world: World, replica: Replica, manifest: bytes
) -> None:
    """A later manifest confirms no entry of a Redis that came back older."""
    world.index.doubts += 1

    with pytest.raises(LaterVersion):
        await ask(replica)

    assert LIGHTHOUSE.hash in world.index.entries


async def test_a_bulk_purge_leaves_a_later_manifest_and_goes_on(
    world: World, replica: Replica, manifest: bytes
) -> None:
    """A bulk purge counts a later manifest as failed and purges the others."""
    purged = await replica.parts.bulk_purge.all(SHOP)

    assert (purged.deleted, purged.more) == (1, True)
    assert purged.failed >= 1
    assert world.store.objects[MANIFEST].data == manifest
    assert len(world.images) == 1


async def test_a_purge_by_age_says_that_a_later_manifest_is_left(
    world: World, replica: Replica, manifest: bytes
) -> None:
    """A purge by age counts a later manifest as failed: its age is unknown."""
    world.index.entries.pop(LIGHTHOUSE.hash)

    purged = await replica.parts.bulk_purge.older_than(SHOP, 3600)

    assert purged == Purged(failed=1, more=True)
    assert world.store.objects[MANIFEST].data == manifest


async def test_a_rebuild_counts_a_later_manifest_apart(
    world: World, replica: Replica, manifest: bytes
) -> None:
    """A rebuild counts a later manifest neither as lost nor as restored."""
    world.index.lose_everything()

    tally = await replica.parts.rebuild.run(SHOP, per_second=1_000_000)

    assert tally == RebuildCount(restored=1, later=1)
    assert world.store.objects[MANIFEST].data == manifest


async def test_no_orphan_is_removed_beside_a_later_manifest(
    world: World, replica: Replica, manifest: bytes
) -> None:
    """The picture of a later manifest is no orphan."""
    orphans = Orphans(ledger=replica.parts.ledger, old_after=timedelta(0))

    count = await orphans.remove(SHOP, per_second=1_000_000)

    assert (count.removed, count.unreadable) == (0, 1)
    assert len(world.images) == 2


@pytest.mark.parametrize("reader", ["purges", "refreshes"])
async def test_a_later_purge_note_is_an_outage_of_its_prompt(
    world: World,
    replica: Replica,
    note: bytes,
    reader: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A purge or refresh that meets a later note raises before it changes or pays."""
    before = dict(world.store.objects)

    with pytest.raises(LaterVersion):
        await requires_the_manifest(replica)[reader]()

    assert "purge note of a later version" in errors_in(caplog)
    assert world.store.objects == before
    assert world.provider.count == 2


async def test_a_bulk_purge_leaves_a_later_note_and_goes_on(
    world: World, replica: Replica, note: bytes
) -> None:
    """A bulk purge counts a prompt with a later note as failed, purging the others."""
    purged = await replica.parts.bulk_purge.all(SHOP)

    assert (purged.deleted, purged.more) == (1, True)
    assert world.store.objects[NOTE].data == note
    assert [LIGHTHOUSE.hash in key for key in world.manifests] == [True]


async def test_a_later_note_is_not_finished(
    world: World, replica: Replica, note: bytes
) -> None:
    """The finisher of purges leaves a later note and what it may name."""
    before = dict(world.store.objects)

    await replica.parts.purge_finisher.look()

    assert world.store.objects == before
