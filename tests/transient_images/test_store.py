"""TransientImages: what callers of the use case can rely on."""

from __future__ import annotations

import io
from datetime import timedelta
from typing import TYPE_CHECKING
from uuid import UUID, uuid4

import PIL.Image
import pytest

from app.errors import (
    InvalidParameter,
    NotFound,
    QuotaFull,
    ReferencesGone,
    UnsupportedImage,
)
from app.storage.redis.client.connection import open_redis
from app.storage.storage_key import Project
from app.transient_images import TransientImages
from tests.transient_images.shelves import picture, shelf_on

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from app.storage.redis.client.connection import RedisConnections

SHOP, STUDIO = Project("acme", "shop"), Project("acme", "studio")


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[RedisConnections]:
    """Connect to an empty Redis."""
    async with open_redis(redis_url) as connections:
        yield connections


def images_on(redis: RedisConnections, **options: float) -> TransientImages:
    """Return the use case with a quota of 1000 bytes, unless *options* say more."""
    return TransientImages(
        shelf_on(redis),
        base_url="https://paintonce.example/",
        max_image_bytes=1000,
        quota_bytes=1000,
        total_bytes=int(options.get("total_bytes", 0)),
        default_ttl_seconds=options.get("default_ttl_seconds", 0),
    )


def painted(colour: int) -> bytes:
    """Return a small real PNG."""
    buffer = io.BytesIO()
    PIL.Image.new("L", (4, 3), colour).save(buffer, "PNG")
    return buffer.getvalue()


async def test_an_address_tells_nothing_of_the_project(redis: RedisConnections) -> None:
    """The id is a random UUID, and the same bytes get another one each time."""
    images = images_on(redis)
    first, second = [await images.keep(SHOP, picture()) for _ in range(2)]

    assert UUID(first.id).version == UUID(second.id).version == 4
    assert first.id != second.id
    assert first.url == f"https://paintonce.example/api/images/{first.id}.png"


async def test_the_default_ttl_applies_unless_another_is_given(
    redis: RedisConnections,
) -> None:
    """Fractions of a second count."""
    images = images_on(redis, default_ttl_seconds=60.5)
    usual = await images.keep(SHOP, picture())
    other = await images.keep(SHOP, picture(), ttl_seconds=5)

    assert usual.expires_at is not None
    assert usual.expires_at - usual.created_at == timedelta(seconds=60.5)
    assert other.expires_at is not None
    assert other.expires_at - other.created_at == timedelta(seconds=5)


async def test_quotas_are_told_apart(redis: RedisConnections) -> None:
    """The caller learns whose room is full."""
    images = images_on(redis, total_bytes=1500)
    await images.keep(SHOP, picture(900))

    with pytest.raises(QuotaFull, match="project's"):
        await images.keep(SHOP, picture(101))
    with pytest.raises(QuotaFull, match="service's"):
        await images.keep(STUDIO, picture(601))
    await images.keep(STUDIO, picture(600))


async def test_what_is_no_picture_is_not_kept(redis: RedisConnections) -> None:
    """Only accepted magic numbers get an address."""
    images = images_on(redis)
    for data in (b"", b"a storm", b"<svg/>"):
        with pytest.raises(UnsupportedImage):
            await images.keep(SHOP, data)


async def test_references_come_in_their_order(redis: RedisConnections) -> None:
    """A painting gets the pictures as they were named, also twice."""
    images = images_on(redis)
    pictures = [painted(colour) for colour in (0, 120, 250)]
    ids = [(await images.keep(SHOP, data)).id for data in pictures]
    found = await images.references(SHOP, [ids[2], ids[0], ids[2]])

    assert [image.data for image in found] == [pictures[2], pictures[0], pictures[2]]
    assert (found[0].width, found[0].height) == (4, 3)
    assert await images.references(SHOP, []) == ()


async def test_missing_and_foreign_references_are_gone(redis: RedisConnections) -> None:
    """One that this project does not have stops the painting."""
    images = images_on(redis)
    own = (await images.keep(SHOP, painted(0))).id
    foreign = (await images.keep(STUDIO, painted(0))).id
    deleted = (await images.keep(SHOP, painted(0))).id
    await images.forget(SHOP, [deleted])

    for other in (foreign, deleted, str(uuid4()), "a lighthouse", own.upper()):
        with pytest.raises(ReferencesGone):
            await images.references(SHOP, [own, other])


async def test_an_unreadable_reference_is_told(redis: RedisConnections) -> None:
    """Bytes with the right magic number may be no picture all the same."""
    images = images_on(redis)
    broken = await images.keep(SHOP, picture())

    with pytest.raises(InvalidParameter) as refusal:
        await images.references(SHOP, [broken.id])

    assert refusal.value.parameter == "references"


async def test_a_reader_is_told_when_the_picture_goes(redis: RedisConnections) -> None:
    """Nobody gets half a picture for a whole one."""
    images = images_on(redis)
    kept = await images.keep(SHOP, picture())
    found = await images.open(kept.id)
    await images.forget(SHOP, [kept.id])

    assert found is not None
    with pytest.raises(NotFound):
        _ = [chunk async for chunk in found.chunks()]
