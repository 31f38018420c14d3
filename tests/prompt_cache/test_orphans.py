"""Old pictures that no manifest names are removed."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest

from app.prompt_cache.orphans import OrphanCount
from tests.fakes import SHOP
from tests.prompt_cache.cache_requests import ask

if TYPE_CHECKING:
    from app.storage.storage_key import Project
    from tests.fakes import Replica, World

TWO_DAYS = timedelta(days=2)


async def swept(replica: Replica, project: Project = SHOP) -> OrphanCount:
    """Remove the orphans of a project at once."""
    return await replica.parts.orphans.remove(project, per_second=1_000_000)


async def an_image(world: World, name: str = "", *, age: timedelta = TWO_DAYS) -> str:
    """Store a picture that no manifest names; return its key."""
    key = f"acme/shop/generated/{name or f'{uuid4()}.png'}"
    await world.store.put(key, b"12345", media_type="image/png")
    world.store.objects[key].modified_at = datetime.now(UTC) - age
    return key


@pytest.fixture(autouse=True)
async def painted(world: World, replica: Replica) -> str:
    """Paint the lighthouse, made to look old; return its picture's key."""
    answer = await ask(replica)
    key = str(answer.entry.storage_key)
    world.store.objects[key].modified_at -= TWO_DAYS
    return key


async def test_only_what_is_old_and_has_no_manifest_goes(
    world: World, replica: Replica, painted: str
) -> None:
    """Only old pictures without a manifest are removed."""
    await an_image(world)
    young = await an_image(world, age=timedelta(hours=23))
    foreign = await an_image(world, "notes.txt")

    count = await swept(replica)

    assert count == OrphanCount(removed=1, bytes=5)
    assert world.images == sorted([painted, young, foreign])
    assert await swept(replica) == OrphanCount()


async def test_a_manifest_that_cannot_be_read_keeps_everything(
    world: World, replica: Replica
) -> None:
    """A project with an unreadable manifest keeps all its pictures."""
    orphan = await an_image(world)
    world.store.objects[world.manifests[0]].data = b"{"

    count = await swept(replica)

    assert count == OrphanCount(unreadable=1)
    assert orphan in world.images


async def test_a_project_without_a_manifest_is_found(
    world: World, replica: Replica
) -> None:
    """A project without any manifest is found by its pictures."""
    await world.store.put("zoo/main/generated/x.png", b"", media_type="image/png")
    await world.store.put("_system/prompts/generated/x", b"", media_type="image/png")

    ledger = replica.parts.ledger
    with_pictures = [str(one) async for one in ledger.projects("generated")]
    with_manifests = [str(one) async for one in ledger.projects()]

    assert with_pictures == ["acme/shop", "zoo/main"]
    assert with_manifests == ["acme/shop"]


@pytest.mark.parametrize("age", [TWO_DAYS, timedelta(0)])
async def test_what_proofs_of_the_store_left_goes(
    world: World, replica: Replica, age: timedelta
) -> None:
    """Old keys of the store's proof are removed."""
    left = "_system/fence/left"
    await world.store.put(left, b"", media_type="text/plain")
    world.store.objects[left].modified_at -= age
    orphans = dataclasses.replace(replica.parts.orphans, proof_seconds=0)

    assert await orphans.remove_proofs() == 1
    assert left not in world.store.objects


async def test_renditions_without_a_picture_go(
    world: World, replica: Replica, painted: str
) -> None:
    """Renditions of removed pictures are removed."""
    image_id = painted.rpartition("/")[2].removesuffix(".png")
    kept = f"acme/shop/renditions/{image_id}/640.webp"
    for key in (
        kept,
        f"acme/shop/renditions/{uuid4()}/640.webp",
        f"acme/shop/renditions/{uuid4()}/1080-q80.avif",
    ):
        await world.store.put(key, b"1234567", media_type="image/webp")

    assert await swept(replica) == OrphanCount(removed=2, bytes=14)

    assert [key for key in world.store.objects if "/renditions/" in key] == [kept]


async def test_an_orphan_takes_its_renditions_along(
    world: World, replica: Replica
) -> None:
    """An orphan's renditions are removed with it."""
    image_id = str(uuid4())
    await an_image(world, f"{image_id}.png")
    key = f"acme/shop/renditions/{image_id}/640.webp"
    await world.store.put(key, b"1234567", media_type="image/webp")

    await swept(replica)

    assert key not in world.store.objects
