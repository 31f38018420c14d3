"""The use case of transient images."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest

from app.errors import NotFound, QuotaFull, UnsupportedImage
from app.storage.storage_key import Project
from app.transient_images import Limits, assemble
from tests.fake_transient_store import InMemoryTransientStore
from tests.transient_images.stores import picture

if TYPE_CHECKING:
    from app.storage.ports.transient_store import TransientStore
    from app.transient_images import TransientImages

SHOP, STUDIO = Project("acme", "shop"), Project("acme", "studio")


def images_on(store: TransientStore, **limits: Any) -> TransientImages:
    """Return the use case with a quota of 1000 bytes, unless *limits* change it."""
    own: dict[str, Any] = {
        "base_url": "https://paintonce.example/",
        "max_image_bytes": 1000,
        "quota_bytes": 1000,
        **limits,
    }
    return assemble(store, Limits(**own)).images


@pytest.fixture
def memory() -> InMemoryTransientStore:
    """Give a store that is empty."""
    return InMemoryTransientStore()


async def test_an_address_is_a_random_id(
    memory: InMemoryTransientStore,
) -> None:
    """An address has a random id, and the same bytes get another one each time."""
    images = images_on(memory)
    first, second = [await images.keep(SHOP, picture()) for _ in range(2)]

    assert UUID(first.id).version == UUID(second.id).version == 4
    assert first.id != second.id
    assert first.url == f"https://paintonce.example/api/images/{first.id}.png"


async def test_the_default_ttl_applies_unless_another_is_given(
    memory: InMemoryTransientStore,
) -> None:
    """The default ttl applies unless another one is given."""
    images = images_on(memory, default_ttl=timedelta(seconds=60.5))
    usual = await images.keep(SHOP, picture())
    other = await images.keep(SHOP, picture(), ttl=timedelta(seconds=5))

    assert usual.expires_at is not None
    assert usual.expires_at - usual.created_at == timedelta(seconds=60.5)
    assert other.expires_at is not None
    assert other.expires_at - other.created_at == timedelta(seconds=5)


async def test_a_full_quota_is_named(memory: InMemoryTransientStore) -> None:
    """A full quota's error names whose quota it is."""
    images = images_on(memory, total_bytes=1500)
    await images.keep(SHOP, picture(900))

    with pytest.raises(QuotaFull, match="project's"):
        await images.keep(SHOP, picture(101))
    with pytest.raises(QuotaFull, match="service's"):
        await images.keep(STUDIO, picture(601))
    await images.keep(STUDIO, picture(600))


async def test_what_is_no_picture_is_not_kept(memory: InMemoryTransientStore) -> None:
    """Bytes without a known magic number are refused."""
    images = images_on(memory)
    for data in (b"", b"a storm", b"<svg/>"):
        with pytest.raises(UnsupportedImage):
            await images.keep(SHOP, data)


async def test_a_reader_of_a_deleted_picture_gets_an_error(
    memory: InMemoryTransientStore,
) -> None:
    """A reader whose picture is deleted meanwhile gets an error."""
    images = images_on(memory)
    kept = await images.keep(SHOP, picture())
    found = await images.open(kept.id)
    await images.forget(SHOP, [kept.id])

    assert found is not None
    with pytest.raises(NotFound):
        _ = [chunk async for chunk in found.chunks()]
