"""The bytes of a picture are whole, or an error is raised."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from app.errors import StorageUnavailable
from app.prompt_cache.painting.hot_tier import HotTier
from app.prompt_cache.painting.pictures import SMALL_BYTES, PictureGone, Pictures
from app.storage.ports.object_store import ByteRange
from app.telemetry import Metrics
from tests.fakes import LIGHTHOUSE, UNLIMITED_PERMIT, a_picture, a_prompt_cache

if TYPE_CHECKING:
    from app.prompt_cache.entry.entry import PromptEntry
    from tests.fakes import World


@pytest.fixture
async def entry(world: World) -> PromptEntry:
    """Paint the lighthouse on another replica, and return its entry."""
    replica = a_prompt_cache(world, hot_tier_bytes=0)
    answer = await replica.cache.get_or_generate(
        LIGHTHOUSE, permit=UNLIMITED_PERMIT, wait_seconds=30
    )
    return answer.entry


@pytest.fixture
def pictures(world: World) -> Pictures:
    """Give the pictures of a replica that has read none yet."""
    return reading(world, HotTier(1_000_000))


def reading(world: World, hot_tier: HotTier) -> Pictures:
    """Read pictures through *hot_tier*."""
    return Pictures(
        ledger=a_prompt_cache(world).parts.ledger, hot_tier=hot_tier, metrics=Metrics()
    )


async def streamed(
    pictures: Pictures, entry: PromptEntry, byte_range: ByteRange | None = None
) -> bytes:
    """Read a picture in chunks, as a large one is sent."""
    async with pictures.open(entry, byte_range) as chunks:
        return b"".join([chunk async for chunk in chunks])


def tamper(world: World, entry: PromptEntry, data: bytes) -> None:
    """Replace the picture's bytes in the store."""
    world.store.objects[str(entry.storage_key)].data = data


async def test_a_small_picture_is_read_once(
    world: World, pictures: Pictures, entry: PromptEntry
) -> None:
    """A picture is read from the store once and then cached."""
    before = world.store.calls["get"]
    first = await pictures.read(entry)
    second = await pictures.read(entry)

    assert first == second == a_picture(1) == pictures.cached_bytes(entry)
    assert world.store.calls["get"] - before == 1


async def test_a_streamed_picture_is_kept_when_it_was_whole(
    pictures: Pictures, entry: PromptEntry
) -> None:
    """A picture that was streamed whole is cached."""
    assert await streamed(pictures, entry) == a_picture(1)
    assert pictures.cached_bytes(entry) == a_picture(1)


async def test_a_picture_that_was_not_read_to_its_end_is_not_kept(
    pictures: Pictures, entry: PromptEntry
) -> None:
    """A picture that was not streamed to its end is not cached."""
    async with pictures.open(entry) as chunks:
        await anext(chunks)

    assert pictures.cached_bytes(entry) is None


async def test_only_one_of_many_slow_readers_collects_a_picture(
    world: World, pictures: Pictures, entry: PromptEntry
) -> None:
    """Of several readers of a stream only one collects the bytes."""
    async with pictures.open(entry) as slow:
        await anext(slow)
        assert await streamed(pictures, entry) == a_picture(1)
        assert pictures.cached_bytes(entry) is None
        await slow.aclose()  # type: ignore[attr-defined]

    assert await streamed(pictures, entry) == a_picture(1)
    assert pictures.cached_bytes(entry) == a_picture(1)


async def test_a_large_picture_is_left_to_be_streamed(
    pictures: Pictures, entry: PromptEntry
) -> None:
    """A picture above the bound is not read whole."""
    assert await pictures.read(entry._replace(size=SMALL_BYTES + 1)) is None


async def test_a_range_is_part_of_the_picture(
    pictures: Pictures, entry: PromptEntry
) -> None:
    """A range has its bytes and is not cached."""
    part = await streamed(pictures, entry, ByteRange(5, 20))

    assert part == a_picture(1)[5:21]
    assert pictures.cached_bytes(entry) is None


async def test_a_picture_that_is_gone(
    world: World, pictures: Pictures, entry: PromptEntry
) -> None:
    """A picture that is not in the store raises `PictureGone`."""
    del world.store.objects[str(entry.storage_key)]

    with pytest.raises(PictureGone):
        await pictures.read(entry)
    with pytest.raises(PictureGone):
        await streamed(pictures, entry, ByteRange(0, 3))


async def test_a_store_that_is_away_is_not_a_picture_that_is_gone(
    world: World, pictures: Pictures, entry: PromptEntry
) -> None:
    """An outage of the store is not taken for a lost picture."""
    world.store.is_away = True

    with pytest.raises(StorageUnavailable):
        await pictures.read(entry)


@pytest.mark.parametrize("size", [10, 5000])
async def test_a_picture_of_another_size_is_damaged(
    world: World, pictures: Pictures, entry: PromptEntry, size: int
) -> None:
    """A picture of another size than its entry's is an outage."""
    tamper(world, entry, (a_picture(1) * 50)[:size])

    with pytest.raises(StorageUnavailable):
        await pictures.read(entry)
    with pytest.raises(StorageUnavailable):
        async with pictures.open(entry):
            pytest.fail("it was opened")
    assert pictures.cached_bytes(entry) is None


async def test_a_range_of_a_picture_that_is_too_short_is_damaged(
    world: World, pictures: Pictures, entry: PromptEntry
) -> None:
    """A range beyond a picture that is too short is an outage."""
    tamper(world, entry, a_picture(1)[:10])

    with pytest.raises(StorageUnavailable):
        await streamed(pictures, entry, ByteRange(0, 50))


async def test_a_picture_with_other_bytes_is_damaged(
    world: World,
    pictures: Pictures,
    entry: PromptEntry,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A picture with a wrong byte is an outage and logged."""
    data = bytearray(a_picture(1))
    data[40] ^= 1
    tamper(world, entry, bytes(data))

    with pytest.raises(StorageUnavailable):
        await pictures.read(entry)
    with pytest.raises(StorageUnavailable):
        await streamed(pictures, entry)
    assert pictures.cached_bytes(entry) is None
    assert "picture is damaged" in caplog.messages


DAMAGED = "paintonce_damaged_objects_total"


async def test_a_part_of_a_picture_that_was_replaced_is_no_answer(
    world: World, entry: PromptEntry
) -> None:
    """A range of a replaced picture is an outage, by its metadata."""
    replica = a_prompt_cache(world)
    world.store.objects[str(entry.storage_key)].metadata = {"sha256": "0" * 64}

    with pytest.raises(StorageUnavailable):
        await streamed(replica.parts.pictures, entry, ByteRange(5, 20))
    assert replica.counted(DAMAGED) == 1


async def test_a_range_that_is_all_there_is_is_checked_as_a_whole(
    world: World, pictures: Pictures, entry: PromptEntry
) -> None:
    """A range of the whole picture is checked by its digest."""
    tamper(world, entry, bytes(entry.size))

    with pytest.raises(StorageUnavailable):
        await streamed(pictures, entry, ByteRange(0, entry.size - 1))


async def test_a_stored_picture_is_known_by_what_was_said_of_it(
    pictures: Pictures, entry: PromptEntry
) -> None:
    """A picture opened by its key has its digest, time and checked bytes."""
    async with pictures.open_stored(entry.storage_key) as stored:
        assert stored is not None
        assert (stored.size, stored.digest) == (entry.size, entry.digest)
        assert stored.created_at == entry.created_at
        assert b"".join([chunk async for chunk in stored.chunks]) == a_picture(1)
    async with pictures.open_stored(entry.storage_key, ByteRange(5, 20)) as part:
        assert part is not None
        assert b"".join([chunk async for chunk in part.chunks]) == a_picture(1)[5:21]


async def test_a_stored_picture_that_was_damaged_breaks_off(
    world: World, entry: PromptEntry
) -> None:
    """A damaged picture opened by its key ends in an outage."""
    replica = a_prompt_cache(world)
    tamper(world, entry, bytes(entry.size))
    async with replica.parts.pictures.open_stored(entry.storage_key) as stored:
        assert stored is not None
        with pytest.raises(StorageUnavailable):
            [chunk async for chunk in stored.chunks]
    world.store.objects[str(entry.storage_key)].metadata = {}
    with pytest.raises(StorageUnavailable):
        async with replica.parts.pictures.open_stored(entry.storage_key):
            pass

    assert replica.counted(DAMAGED) == 2


async def test_a_stored_picture_that_is_gone(
    world: World, pictures: Pictures, entry: PromptEntry
) -> None:
    """A missing picture opened by its key is None."""
    world.store.objects.clear()

    async with pictures.open_stored(entry.storage_key) as stored:
        assert stored is None


@pytest.mark.parametrize("hot_tier_bytes", [0, 1_000_000])
async def test_answers_without_bytes_require_the_picture(
    world: World, entry: PromptEntry, hot_tier_bytes: int
) -> None:
    """`require` raises `PictureGone` for a lost picture, as a GET would."""
    pictures = reading(world, HotTier(hot_tier_bytes))
    await pictures.require(entry)
    assert (pictures.cached_bytes(entry) is not None) is (hot_tier_bytes > 0)
    pictures.forget(entry)
    del world.store.objects[str(entry.storage_key)]

    with pytest.raises(PictureGone):
        await pictures.require(entry)
