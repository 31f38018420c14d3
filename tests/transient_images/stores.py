"""The store of transient images on a real Redis, and helpers to fill and inspect it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import uuid4

from app.storage.ports.transient_store import Quota, QuotaReached, StoredImage
from app.storage.redis import keys
from app.storage.redis.transient import RedisTransientStore

if TYPE_CHECKING:
    from datetime import timedelta

    from app.storage.ports.transient_store import TransientStore
    from app.storage.redis.client.traffic import RedisConnections

PNG_HEAD = b"\x89PNG\r\n\x1a\n"
SHOP, STUDIO = "acme/shop", "acme/studio"
PLENTY = Quota(in_project=1_000_000, in_all=None, pictures=1000)


def picture(size: int = 100, fill: bytes = b".") -> bytes:
    """Return *size* bytes that start like a PNG."""
    return (PNG_HEAD + fill * (size // len(fill) + 1))[:size]


def store_on(connections: RedisConnections, **options: Any) -> RedisTransientStore:
    """Return the adapter of a replica."""
    return RedisTransientStore(
        commands=connections.commands,
        slices=connections.slices,
        blobs=connections.blobs,
        **options,
    )


async def put(
    store: TransientStore,
    data: bytes | None = None,
    *,
    project: str = SHOP,
    media_type: str = "image/png",
    ttl: timedelta | None = None,
    quota: Quota = PLENTY,
) -> StoredImage | QuotaReached:
    """Put a picture into the store; return the verdict."""
    return await store.put(
        str(uuid4()),
        picture() if data is None else data,
        project=project,
        media_type=media_type,
        ttl=ttl,
        quota=quota,
    )


async def placed(store: TransientStore, **options: Any) -> StoredImage:
    """Put a picture into the store; fail if it has no room."""
    stored = await put(store, **options)
    assert isinstance(stored, StoredImage)
    return stored


async def used(store: TransientStore, project: str = SHOP) -> int:
    """Return the used bytes of a project; check them against its list."""
    inventory = await store.inventory(project)
    assert inventory.used_bytes == sum(image.size for image in inventory.images)
    return inventory.used_bytes


async def is_gone(store: TransientStore, image: StoredImage) -> bool:
    """Return whether *image* can no longer be read."""
    return await store.describe(image.image_id) is None


async def keys_left(connections: RedisConnections) -> list[bytes]:
    """Return every key in Redis but the one that every replica leaves."""
    found: list[bytes] = await connections.leases.execute("KEYS", "*")
    return [key for key in found if key != keys.BEGAN.encode()]


async def fill(connections: RedisConnections) -> None:
    """Fill Redis's memory."""
    await connections.leases.execute("CONFIG", "SET", "maxmemory", 1)
