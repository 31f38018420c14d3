"""The ledger: the first manifest wins, and a lost picture is replaced once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from app.errors import StorageUnavailable
from app.image import Image
from app.prompt_cache.entry.ledger import Ledger, Manifest
from app.storage.storage_key import StorageKey
from tests.fakes import LIGHTHOUSE, SHOP, a_picture, an_entry

if TYPE_CHECKING:
    from app.prompt_cache.entry.entry import PromptEntry
    from tests.fakes import World

OURS, THEIRS = (
    "0b9cbb3c-57a5-4b0c-8c2f-3c9b8d3f4f10",
    "1" * 8 + "-1111" * 3 + "-" + "1" * 12,
)


@pytest.fixture
def ledger(world: World) -> Ledger:
    """Give the ledger of an empty world."""
    return Ledger(world.store)


def entry_of(generation_id: str = OURS) -> PromptEntry:
    """Return the entry of the lighthouse in one generation."""
    return an_entry(image_id=generation_id, generation_id=generation_id)


async def read(ledger: Ledger) -> Manifest:
    """Return the lighthouse's manifest, which must exist."""
    manifest = await ledger.read(SHOP, LIGHTHOUSE.hash)
    assert manifest is not None
    return manifest


async def test_the_first_manifest_wins(ledger: Ledger) -> None:
    """A second writer adopts the first one's picture."""
    assert await ledger.commit(entry_of(THEIRS), None) == entry_of(THEIRS)

    assert await ledger.commit(entry_of(OURS), None) == entry_of(THEIRS)
    assert (await read(ledger)).entry == entry_of(THEIRS)


async def test_our_own_manifest_with_a_lost_reply_is_a_win(
    world: World, ledger: Ledger
) -> None:
    """A create whose reply was lost wins when it is repeated."""
    world.store.lose_reply("create")
    with pytest.raises(StorageUnavailable):
        await ledger.commit(entry_of(OURS), None)

    winner = await ledger.commit(entry_of(OURS), None)

    assert winner.generation_id == OURS


async def test_a_refresh_replaces_what_it_read(ledger: Ledger) -> None:
    """A refresh replaces the manifest that it has read."""
    await ledger.commit(entry_of(THEIRS), None)
    old = await read(ledger)

    assert await ledger.commit(entry_of(OURS), old) == entry_of(OURS)
    assert (await read(ledger)).entry == entry_of(OURS)


async def test_a_refresh_that_comes_late_adopts(ledger: Ledger) -> None:
    """A refresh whose manifest was replaced meanwhile adopts the newer picture."""
    await ledger.commit(entry_of(THEIRS), None)
    old = await read(ledger)
    newer = entry_of(OURS)._replace(image_id=THEIRS)
    await ledger.commit(newer, old)

    late = await ledger.commit(entry_of(THEIRS), old)

    assert late == newer


async def test_a_refresh_whose_reply_was_lost_is_a_win(
    world: World, ledger: Ledger
) -> None:
    """A replacement whose reply was lost wins when it is repeated."""
    await ledger.commit(entry_of(THEIRS), None)
    old = await read(ledger)
    world.store.lose_reply("replace")
    with pytest.raises(StorageUnavailable):
        await ledger.commit(entry_of(OURS), old)

    assert (await ledger.commit(entry_of(OURS), old)).generation_id == OURS


async def test_a_manifest_that_was_purged_meanwhile_is_created(
    ledger: Ledger,
) -> None:
    """A manifest that was purged before its replacement is created."""
    await ledger.commit(entry_of(THEIRS), None)
    old = await read(ledger)
    await ledger.forget_manifest(SHOP, LIGHTHOUSE.hash)

    assert await ledger.commit(entry_of(OURS), old) == entry_of(OURS)
    assert (await read(ledger)).entry == entry_of(OURS)


@pytest.mark.parametrize("damage", ["cut off", "another prompt", "another project"])
async def test_an_unreadable_manifest_is_replaced(
    world: World, ledger: Ledger, damage: str
) -> None:
    """An unreadable or foreign manifest is replaced."""
    await ledger.commit(entry_of(THEIRS), None)
    (kept,) = world.store.objects.values()
    match damage:
        case "cut off":
            kept.data = kept.data[:100]
        case "another prompt":
            kept.data = kept.data.replace(LIGHTHOUSE.hash.encode(), b"1" * 64)
        case _:
            kept.data = kept.data.replace(b"acme/shop", b"acme/zoo")
    unreadable = await read(ledger)

    assert unreadable.entry is None
    assert await ledger.commit(entry_of(OURS), None) == entry_of(OURS)
    assert (await read(ledger)).entry == entry_of(OURS)


async def test_a_ledger_that_does_not_settle_is_an_outage(
    world: World, ledger: Ledger
) -> None:
    """A store whose answers contradict each other is an outage after some tries."""

    async def taken(key: str, data: bytes, *, media_type: str) -> None:
        """Answer that the key is taken although it is not."""

    world.store.create = taken  # type: ignore[method-assign]

    with pytest.raises(StorageUnavailable):
        await ledger.commit(entry_of(OURS), None)


async def test_a_picture_is_kept_with_what_is_known_of_it(
    world: World, ledger: Ledger
) -> None:
    """A picture is stored under its key with type, digest, hash and time."""
    entry = entry_of()
    assert not await ledger.has_image(entry.storage_key)
    assert await ledger.find_image(SHOP, OURS) is None

    await ledger.keep_image(entry, Image.inspect(a_picture(1)))

    kept = world.store.objects[f"acme/shop/generated/{OURS}.png"]
    assert kept.media_type == "image/png"
    assert kept.metadata == {
        "sha256": entry.digest,
        "prompt-hash": LIGHTHOUSE.hash,
        "created-at": "2026-01-02T03:04:05+00:00",
    }
    assert await ledger.has_image(entry.storage_key)
    found = await ledger.find_image(SHOP, OURS)
    assert found == StorageKey.parse(f"acme/shop/generated/{OURS}.png")
    await ledger.forget_image(entry.storage_key)
    assert not await ledger.has_image(entry.storage_key)


async def test_manifests_are_listed_in_order(ledger: Ledger) -> None:
    """Manifests are listed in order and after a given hash."""
    hashes = ["11" * 32, "22" * 32, "33" * 32]
    for prompt_hash in hashes[::-1]:
        await ledger.commit(entry_of()._replace(prompt_hash=prompt_hash), None)
    await ledger.keep_image(entry_of(), Image.inspect(a_picture(1)))

    assert [found async for found in ledger.manifests(SHOP)] == hashes
    rest = [found async for found in ledger.manifests(SHOP, after=hashes[0])]
    assert rest == hashes[1:]
