"""References: identified by content, lent for a painting, and removed."""

from __future__ import annotations

import asyncio
import io
from dataclasses import dataclass
from datetime import timedelta
from hashlib import sha256
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import PIL.Image
import pytest

from app.errors import CacheUnavailable, InvalidParameter, ReferencesGone
from app.generation.capabilities import COMMON_TYPES
from app.storage.storage_key import Project
from app.transient_images import Limits, assemble
from app.transient_images.lending import LENT
from tests.fake_transient_store import InMemoryTransientStore
from tests.transient_images.stores import picture

if TYPE_CHECKING:
    from collections.abc import Callable

    from app.generation.painting import ReferenceLoader
    from app.transient_images import References, TransientImages

SHOP, STUDIO = Project("acme", "shop"), Project("acme", "studio")
LEASE = timedelta(seconds=20)


@dataclass
class Studio:
    """The feature over a store in memory."""

    store: InMemoryTransientStore
    images: TransientImages
    references: References

    async def keep(self, data: bytes, project: Project = SHOP) -> str:
        """Upload a picture; return its id."""
        return (await self.images.keep(project, data)).id

    async def lent(self) -> list[int]:
        """Return the sizes of all lent copies."""
        return [image.size for image in (await self.store.inventory(LENT)).images]


def studio(
    store: InMemoryTransientStore | None = None,
    *,
    on_degraded: Callable[[str], None] = lambda _: None,
    **limits: Any,
) -> Studio:
    """Assemble the feature with a quota of 100 kB; every reference is lent."""
    store = store or InMemoryTransientStore()
    own: dict[str, Any] = {
        "base_url": "https://paintonce.example",
        "max_image_bytes": 100_000,
        "quota_bytes": 100_000,
        "threshold_bytes": 0,
        "lease_for": LEASE,
        **limits,
    }
    parts = assemble(store, Limits(**own), on_degraded=on_degraded)
    return Studio(store, parts.images, parts.references)


def painted(colour: int) -> bytes:
    """Return a small decodable PNG."""
    buffer = io.BytesIO()
    PIL.Image.new("L", (4, 3), colour).save(buffer, "PNG")
    return buffer.getvalue()


async def loaded(
    loader: ReferenceLoader | None, *, by_address: bool = True
) -> tuple[Any, ...]:
    """Load references as a model with a deadline of a minute does."""
    assert loader is not None
    return await loader(
        by_address=by_address, within_seconds=60, media_types=COMMON_TYPES
    )


async def test_they_come_in_their_order_and_each_is_read_once() -> None:
    """A painting gets references in order, and a repeated one is read once."""
    here = studio()
    pictures = [painted(colour) for colour in (0, 120, 250)]
    ids = [await here.keep(data) for data in pictures]
    async with here.references.for_painting(SHOP, (ids[2], ids[0], ids[2])) as loader:
        first = await loaded(loader, by_address=False)
        second = await loaded(loader, by_address=False)

    assert [one.data for one in first] == [pictures[2], pictures[0], pictures[2]]
    assert first[0] is first[2]
    assert [one.url for one in first] == [None] * 3
    assert second == first
    assert here.store.reads == [ids[2], ids[0]]


async def test_nothing_is_read_for_a_painting_without_references() -> None:
    """A painting without references has no loader."""
    async with studio().references.for_painting(SHOP, ()) as loader:
        assert loader is None


async def test_a_digest_is_worked_out_once() -> None:
    """The same picture under several ids has one digest, and each id is read once."""
    here = studio()
    data = painted(7)
    ids = [await here.keep(data), await here.keep(data)]
    for _ in range(2):
        digests = await here.references.pictures.digests(SHOP, [*ids, ids[0]])

        assert digests == (sha256(data).hexdigest(),) * 3
    assert here.store.reads == ids


async def test_missing_and_foreign_references_are_gone() -> None:
    """Missing and foreign references raise `ReferencesGone`."""
    here = studio()
    own = await here.keep(painted(0))
    foreign = await here.keep(painted(0), STUDIO)
    deleted = await here.keep(painted(0))
    await here.images.forget(SHOP, [deleted])

    for other in (foreign, deleted, str(uuid4()), "a lighthouse", own.upper()):
        with pytest.raises(ReferencesGone):
            await here.references.pictures.digests(SHOP, [own, other])
        with pytest.raises(ReferencesGone):
            async with here.references.for_painting(SHOP, (own, other)) as loader:
                await loaded(loader)


async def test_an_unreadable_reference_is_refused() -> None:
    """A reference that can't be decoded is refused by parameter."""
    here = studio()
    broken = await here.keep(picture())
    with pytest.raises(InvalidParameter) as refusal:
        async with here.references.for_painting(SHOP, (broken,)) as loader:
            await loaded(loader)

    assert refusal.value.parameter == "references"


async def test_a_lent_copy_is_its_own_picture() -> None:
    """A lent copy is in no list or quota, and outlives its original."""
    here = studio()
    data = painted(9)
    original = await here.keep(data)
    async with here.references.for_painting(SHOP, (original, original)) as loader:
        first, second = await loaded(loader)
        await here.images.forget(SHOP, [original])
        name = first.url.removeprefix("https://paintonce.example/api/images/")
        copy = await here.images.open(name.removesuffix(".png"))

        assert first is second
        assert copy is not None
        assert b"".join([chunk async for chunk in copy.chunks()]) == data
        assert await here.lent() == [len(data)]
        assert (await here.images.list(SHOP)).quota_used_bytes == 0
    assert await here.lent() == []


@pytest.mark.parametrize("end", [RuntimeError, CacheUnavailable])
async def test_a_painting_that_fails_takes_its_copies_back(
    end: type[Exception],
) -> None:
    """A painting that ends in any way removes its copies."""
    here = studio()
    original = await here.keep(painted(9))

    async def fail() -> None:
        async with here.references.for_painting(SHOP, (original,)) as loader:
            await loaded(loader)
            raise end("over")

    with pytest.raises(end):
        await fail()

    assert await here.lent() == []


async def test_a_painting_that_is_handed_on_leaves_its_copies_to_their_time() -> None:
    """A painting that is handed over leaves its copies to expire."""
    here = studio()
    original = await here.keep(painted(9))

    async def be_cancelled() -> None:
        async with here.references.for_painting(SHOP, (original,)) as loader:
            await loaded(loader)
            raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        await be_cancelled()
    (left,) = (await here.store.inventory(LENT)).images

    assert left.expires_ms is not None
    assert left.expires_ms - left.created_ms == 60_000 + 2 * 20_000


@pytest.mark.parametrize(
    "limits",
    [
        {"threshold_bytes": 1000},
        {"base_url": "http://127.0.0.1:8080"},
        {"base_url": "https://paintonce.internal"},
        {"total_bytes": 100},
    ],
    ids=["small", "not reachable", "inside", "no room"],
)
async def test_what_is_better_sent_along_is_not_lent(limits: dict[str, Any]) -> None:
    """Small references, unreachable addresses and a full store are sent inline."""
    here = studio(**limits)
    original = await here.keep(painted(9))
    async with here.references.for_painting(SHOP, (original,)) as loader:
        (reference,) = await loaded(loader)

        assert (reference.url, reference.data) == (None, painted(9))
        assert await here.lent() == []


async def test_a_reference_that_redis_does_not_take_is_sent_along_and_counted() -> None:
    """Without a copy in Redis a reference is sent inline, which is counted."""
    store = InMemoryTransientStore()
    degraded: list[str] = []
    here = studio(store, on_degraded=degraded.append)
    original = await here.keep(painted(9))

    async def refuse(*_: object, **__: object) -> None:
        raise CacheUnavailable("Redis is unavailable.")

    store.put = refuse  # type: ignore[assignment, method-assign]
    async with here.references.for_painting(SHOP, (original,)) as loader:
        (reference,) = await loaded(loader)

    assert (reference.url, reference.data) == (None, painted(9))
    assert degraded == ["lent_references"]


async def test_paintings_share_a_bound_of_bytes() -> None:
    """A painting beyond the byte budget waits before it reads references."""
    data = painted(9)
    here = studio(references_bytes=len(data))
    ids = (await here.keep(data), await here.keep(painted(8)))
    async with here.references.for_painting(SHOP, ids[:1]) as one:
        await loaded(one)
        async with here.references.for_painting(SHOP, ids[1:]) as other:
            waiting = asyncio.create_task(loaded(other))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            assert here.store.reads == [ids[0]]
            waiting.cancel()
    async with here.references.for_painting(SHOP, ids) as both:
        assert len(await loaded(both)) == 2
